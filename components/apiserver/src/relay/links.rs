//! The links of a backend's pages, led through the proxy as they stream by.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use kinit_serving::Body;
use lol_html::html_content::Element;
use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, element};
use parking_lot::Mutex;

/// What a rewriter may keep of a page whose tags do not end.
const MOST_KEPT: usize = 1024 * 1024;

/// Which attributes of which elements are links, as upstream's proxy has them.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Whether a client that sends these headers may be sent a page; one that is compressed could not be looked into.
pub fn wants_pages(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_none_or(|accepted| accepted.contains("html"))
}

/// Whether an answer with these headers is a page that can be looked into.
pub fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The page with each link that `moved` gives another place for put there.
pub fn rewritten(
    response: Response<Body>,
    moved: impl Fn(&str) -> Option<String> + Clone + Send + 'static,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let page = Page::new(moved);
    let stream = futures::stream::unfold((BodyStream::new(body), Some(page)), |(mut body, page)| async move {
        let mut page = page?;
        while let Some(frame) = body.next().await {
            let bytes = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => page.write(&data),
                Ok(Err(_)) => continue,
                Err(error) => Err(error),
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some((Ok(Frame::data(bytes)), (body, Some(page)))),
                Err(error) => return Some((Err(error), (body, None))),
            }
        }
        Some((page.end().map(Frame::data), (body, None)))
    });
    Response::from_parts(parts, StreamBody::new(stream).boxed_unsync())
}

/// Where a rewriter's output goes.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A page on its way.
struct Page {
    rewriter: HtmlRewriter<'static, Sink>,
    out: Arc<Mutex<Vec<u8>>>,
}

impl Page {
    fn new(moved: impl Fn(&str) -> Option<String> + Clone + Send + 'static) -> Self {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = out.clone();
        let handlers = LINKS.iter().map(|(name, attributes)| {
            let moved = moved.clone();
            element!(*name, move |element: &mut Element<'_, '_, _>| {
                for attribute in *attributes {
                    if let Some(link) = element.get_attribute(attribute).and_then(|link| moved(&link)) {
                        element.set_attribute(attribute, &link)?;
                    }
                }
                Ok(())
            })
        });
        let settings =
            Settings::new_send().with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MOST_KEPT));
        let settings = handlers.fold(settings, |settings, handler| settings.append_element_content_handler(handler));
        let write: Sink = Box::new(move |bytes| sink.lock().extend_from_slice(bytes));
        Self { rewriter: HtmlRewriter::new(settings, write), out }
    }

    fn write(&mut self, data: &[u8]) -> Result<Bytes, kinit_serving::BoxError> {
        self.rewriter.write(data)?;
        Ok(self.taken())
    }

    fn end(self) -> Result<Bytes, kinit_serving::BoxError> {
        let out = self.out.clone();
        self.rewriter.end()?;
        let bytes = std::mem::take(&mut *out.lock());
        Ok(bytes.into())
    }

    fn taken(&self) -> Bytes {
        std::mem::take(&mut *self.out.lock()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_moved_however_the_page_is_cut() {
        let text =
            r#"<html><a class=x href="/one">/one</a><img src='two'><script src="/three"></script><p data-x="/four">"#;
        let wanted = r#"<html><a class=x href="/p/one">/one</a><img src='two'><script src="/p/three"></script><p data-x="/four">"#;
        let moved = |link: &str| link.starts_with('/').then(|| format!("/p{link}"));
        for cut in 0..text.len() {
            let mut page = Page::new(moved);
            let mut out = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                out.extend(page.write(part.as_bytes()).unwrap());
            }
            out.extend(page.end().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn only_plain_html_is_looked_into() {
        let headers = |name: &str, encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, name.parse().unwrap());
            if let Some(encoding) = encoding {
                headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
            }
            headers
        };
        assert!(is_page(&headers("text/html; charset=utf-8", None)));
        assert!(!is_page(&headers("text/html", Some("gzip"))));
        assert!(!is_page(&headers("application/json", None)));
    }
}
