//! Names of images, in the grammar of registries.

/// The tag of an image: `latest` where it has neither tag nor digest, empty where it has a digest alone. None where the text
/// is no name.
pub(super) fn tag(image: &str) -> Option<&str> {
    const LONGEST: usize = 255;
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash is a registry's port.
    let last = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[last..].split_once(':') {
        Some((end, tag)) => (&rest[..last + end.len()], Some(tag)),
        None => (rest, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) => (domain, path),
        _ => ("docker.io", name),
    };
    let whole = domain.len() + 1 + path.len() + if domain == "docker.io" && !path.contains('/') { 8 } else { 0 };
    let sound = whole <= LONGEST
        && path.split('/').all(is_component)
        && !(path == name && name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    sound.then(|| tag.unwrap_or(if digest.is_none() { "latest" } else { "" }))
}

/// Whether the first part of a name is a registry's: it has a dot or a port, or is this host.
fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    (host.contains('.') || port.is_some() || host == "localhost" || host.bytes().any(|byte| byte.is_ascii_uppercase()))
        && host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower case letters and digits, with one dot, one or two underscores or some dashes between them.
fn is_component(text: &str) -> bool {
    let mut rest = text;
    loop {
        let word =
            rest.find(|letter: char| !(letter.is_ascii_lowercase() || letter.is_ascii_digit())).unwrap_or(rest.len());
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let dashes = rest.len() - rest.trim_start_matches('-').len();
        let between = match rest.as_bytes() {
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            _ if dashes > 0 => dashes,
            _ => return false,
        };
        rest = &rest[between..];
    }
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tags_and_other_texts_have_none() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let cases = [
            ("a", Some("latest")),
            ("r:5000/a", Some("latest")),
            ("r:5000/a:1", Some("1")),
            ("registry.k8s.io/pause:3.10", Some("3.10")),
            ("a/b_c/d--e:x", Some("x")),
            (&digest, Some("")),
            ("A_b!", None),
            ("", None),
            ("a:", None),
            ("a/", None),
            ("a@sha256:1", None),
            ("a___b", None),
        ];
        for (image, expected) in cases {
            assert_eq!(tag(image), expected, "{image}");
        }
        assert_eq!((tag(&"a".repeat(300)), tag(&"a".repeat(64))), (None, None));
    }
}
