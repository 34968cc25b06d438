//! Having a container's image there: by its policy, and with pauses that grow when it cannot be pulled.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kinit_cri::Error as CriError;
use kinit_cri::v1::{Image, ImageSpec, ImageStatusRequest, PullImageRequest};
use tokio::time::Instant;

use super::credentials;
use crate::context::Context;
use crate::error::Error;
use crate::events::Kind;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A pull may take this long; CRI's own limit is meant for short calls.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What went wrong, and the word for it in the container's status.
pub type Failure = (&'static str, Error);

struct Failed {
    at: Instant,
    pause: Duration,
    reason: String,
}

/// The failed pulls of a pod, by image.
#[derive(Default)]
pub struct Pulls(HashMap<String, Failed>);

impl Pulls {
    /// Why the image is not pulled again yet.
    fn waits(&self, image: &str, now: Instant) -> Option<&str> {
        let failed = self.0.get(image)?;
        (now < failed.at + failed.pause).then_some(failed.reason.as_str())
    }

    fn failed(&mut self, image: &str, reason: String, now: Instant) {
        let before = self.0.get(image).map(|failed| failed.pause * 2);
        let pause = before.unwrap_or(FIRST_PAUSE).min(LONGEST_PAUSE);
        self.0.insert(image.to_owned(), Failed { at: now, pause, reason });
    }

    /// When the next image may be pulled again.
    pub fn next(&self, now: Instant) -> Option<Duration> {
        let ends = self.0.values().map(|failed| failed.at + failed.pause);
        ends.filter(|end| *end > now).map(|end| end - now).min()
    }
}

/// What a container's policy is when it does not say.
fn policy<'a>(container: &'a Container, image: &str) -> &'a str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    container.image_pull_policy.as_deref().unwrap_or(if latest { "Always" } else { "IfNotPresent" })
}

/// Makes the image be there; gives it.
pub async fn ensure(context: &Context, pod: &Pod, wanted: &Container, pulls: &mut Pulls) -> Result<Image, Failure> {
    let name = wanted.image.clone().unwrap_or_default();
    let say = |kind, reason, message: String| context.events.pod(pod, Some(&wanted.name), kind, reason, message);
    let policy = policy(wanted, &name);
    let present = status(context, &name).await.map_err(|error| ("ImageInspectError", error))?;
    match (policy, present) {
        ("IfNotPresent" | "Never", Some(image)) => {
            say(Kind::Normal, "Pulled", format!("Container image {name:?} already present on machine"));
            return Ok(image);
        }
        ("Never", None) => {
            let text = format!("Container image {name:?} is not present with pull policy of Never");
            say(Kind::Warning, "ErrImageNeverPull", text.clone());
            return Err(("ErrImageNeverPull", Error::Told(text)));
        }
        _ => {}
    }
    if let Some(reason) = pulls.waits(&name, Instant::now()) {
        let text = format!("Back-off pulling image {name:?}");
        say(Kind::Normal, "BackOff", text.clone());
        return Err(("ImagePullBackOff", Error::Told(format!("{text}: {reason}"))));
    }
    say(Kind::Normal, "Pulling", format!("Pulling image {name:?}"));
    let begin = Instant::now();
    let spec = ImageSpec { image: name.clone(), ..Default::default() };
    if let Err(status) = pull(context, pod, spec).await {
        let error = CriError::new(format!("pulling image {name}"), status);
        say(Kind::Warning, "Failed", format!("Failed to pull image {name:?}: {}", error.status.message()));
        say(Kind::Warning, "Failed", "Error: ErrImagePull".into());
        pulls.failed(&name, format!("ErrImagePull: {}", error.status.message()), Instant::now());
        return Err(("ErrImagePull", Error::Told(error.status.message().to_owned())));
    }
    pulls.0.remove(&name);
    let pulled = status(context, &name).await.map_err(|error| ("ImageInspectError", error))?;
    let image = pulled.ok_or_else(|| ("ImageInspectError", Error::Told(format!("image {name:?} is gone again"))))?;
    let took = begin.elapsed().as_millis();
    let size = image.size;
    say(
        Kind::Normal,
        "Pulled",
        format!(
            "Successfully pulled image {name:?} in {took}ms ({took}ms including waiting). Image size: {size} bytes."
        ),
    );
    Ok(image)
}

/// Pulls an image with each of the pod's credentials for it until one will do, or with none.
async fn pull(context: &Context, pod: &Pod, spec: ImageSpec) -> Result<(), tonic::Status> {
    let credentials = credentials::of(context, pod, &spec.image).await;
    let tries: Vec<_> = if credentials.is_empty() { vec![None] } else { credentials.into_iter().map(Some).collect() };
    let mut failed = None;
    for auth in tries {
        let mut request = tonic::Request::new(PullImageRequest { image: Some(spec.clone()), auth });
        request.set_timeout(PULL_TIMEOUT);
        match context.runtime.images.clone().pull_image(request).await {
            Ok(_) => return Ok(()),
            Err(status) => failed = Some(status),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn status(context: &Context, name: &str) -> Result<Option<Image>, Error> {
    let spec = ImageSpec { image: name.to_owned(), ..Default::default() };
    let request = tonic::Request::new(ImageStatusRequest { image: Some(spec), verbose: false });
    let answer = context.runtime.images.clone().image_status(request).await;
    Ok(answer.map_err(|status| CriError::new(format!("looking for image {name}"), status))?.into_inner().image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_image_is_always_pulled() {
        let container = Container::default();
        for (image, wanted) in [
            ("a", "Always"),
            ("r:5000/a", "Always"),
            ("a:latest", "Always"),
            ("a:1", "IfNotPresent"),
            ("r:5000/a:1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(policy(&container, image), wanted, "{image}");
        }
    }

    #[test]
    fn pauses_grow_with_each_failure() {
        let mut pulls = Pulls::default();
        let mut now = Instant::now();
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            assert!(pulls.waits("a", now).is_none());
            pulls.failed("a", "no".into(), now);
            assert_eq!(pulls.next(now), Some(Duration::from_secs(seconds)));
            assert_eq!(pulls.waits("a", now + Duration::from_secs(seconds - 1)), Some("no"));
            now += Duration::from_secs(seconds);
        }
    }
}
