//! What a container has done right after its start and right before its end.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use kinit_cri::v1::ExecSyncRequest;

use crate::context::Context;
use crate::probes;

/// A container and where it is reached.
pub struct Target<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its id in the runtime.
    pub id: &'a str,
    /// Address of the pod.
    pub ip: Option<IpAddr>,
}

/// Does what `handler` says, within `limit`. The error says what went wrong.
pub async fn run(
    context: &Context,
    target: &Target<'_>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let done = tokio::time::timeout(limit, handle(context, target, handler, limit)).await;
    done.unwrap_or_else(|_| Err(format!("it did not end within {} s", limit.as_secs())))
}

async fn handle(
    context: &Context,
    target: &Target<'_>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let cmd = exec.command.clone().unwrap_or_default();
        let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).max(1);
        let mut request =
            tonic::Request::new(ExecSyncRequest { container_id: target.id.to_owned(), cmd: cmd.clone(), timeout });
        request.set_timeout(limit + Duration::from_secs(5));
        let answer = context.runtime.runtime.clone().exec_sync(request).await;
        let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        return match answer.exit_code {
            0 => Ok(()),
            code => Err(format!("command {cmd:?} exited with {code}: {said}")),
        };
    }
    if let Some(action) = &handler.http_get {
        let ip = target.ip.ok_or("the pod has no address")?;
        return probes::http_get(action, ip, target.container.ports.as_deref().unwrap_or_default()).await.map(|_| ());
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64)).await;
        return Ok(());
    }
    // tcpSocket was never more than accepted, in upstream too.
    Ok(())
}

/// The usual limit of a hook that has none of its own.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);
