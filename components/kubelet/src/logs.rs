//! Reading the logs that the runtime writes: `time stream tag text` lines, where tag `P` marks a line that goes on.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::sync::mpsc::Sender;

const POLL: Duration = Duration::from_millis(200);
const BLOCK: usize = 64 << 10;

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Go on as it grows.
    pub follow: bool,
    /// Only this many last lines.
    pub tail: Option<usize>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// With the time before each line.
    pub timestamps: bool,
    /// No more bytes than this.
    pub limit: Option<usize>,
}

/// One line of the file: time and text with its line end, if it has one.
fn parse(line: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, _stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or_default();
    Some((time, text, tag.first() == Some(&b'F')))
}

/// Renders a line of the file as it is wanted; `None` when it is too old or no log line.
fn render(line: &[u8], wanted: &Wanted, begins: bool) -> Option<(Vec<u8>, bool)> {
    let (time, text, full) = parse(line)?;
    if let Some(since) = wanted.since {
        let at: Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
        if at < since {
            return None;
        }
    }
    let mut out = Vec::with_capacity(line.len() + 1);
    if wanted.timestamps && begins {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    out.extend_from_slice(text);
    if full {
        out.push(b'\n');
    }
    Some((out, full))
}

/// Where the last `count` lines of a file begin.
async fn tail_offset(file: &mut File, count: usize) -> std::io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0)).await?;
    let mut seen = 0;
    let mut buffer = vec![0; BLOCK];
    let whole = end;
    while end > 0 {
        let size = (end as usize).min(BLOCK);
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut buffer[..size]).await?;
        for index in (0..size).rev() {
            let at = start + index as u64;
            if buffer[index] == b'\n' && at + 1 != whole {
                seen += 1;
                if seen == count {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Sends the log to `out` until it ends, or its reader goes away. While it is followed, `ended` tells whether the
/// container has ended.
pub async fn send<F, Fut>(path: PathBuf, wanted: Wanted, out: Sender<Bytes>, ended: F) -> std::io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut file = File::open(&path).await?;
    if let Some(count) = wanted.tail {
        let offset =
            if count == 0 { file.seek(SeekFrom::End(0)).await? } else { tail_offset(&mut file, count).await? };
        file.seek(SeekFrom::Start(offset)).await?;
    }
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; BLOCK];
    let (mut begins, mut last) = (true, false);
    loop {
        let count = file.read(&mut buffer).await?;
        pending.extend_from_slice(&buffer[..count]);
        let mut chunk = Vec::new();
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Some((text, full)) = render(&line[..line.len() - 1], &wanted, begins) {
                chunk.extend_from_slice(&text);
                begins = full;
            }
        }
        chunk.truncate(left);
        left -= chunk.len();
        if !chunk.is_empty() && out.send(chunk.into()).await.is_err() || left == 0 {
            return Ok(());
        }
        if count > 0 {
            continue;
        }
        if !wanted.follow || last {
            return Ok(());
        }
        // What was written just before the end is read once more.
        last = ended().await;
        if !last {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = out.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2027-01-01T00:00:00Z stdout F one\n2027-01-01T00:00:01Z stderr P tw\n2027-01-01T00:00:01Z stderr F o\n2027-01-01T00:00:02Z stdout F three\n";

    async fn read(wanted: Wanted) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut chunks) = tokio::sync::mpsc::channel(8);
        send(path, wanted, out, || async { true }).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn logs_are_cut_as_wanted() {
        assert_eq!(read(Wanted::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { follow: true, ..Wanted::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { tail: Some(1), ..Wanted::default() }).await, "three\n");
        assert_eq!(read(Wanted { tail: Some(9), ..Wanted::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { tail: Some(0), ..Wanted::default() }).await, "");
        assert_eq!(read(Wanted { limit: Some(5), ..Wanted::default() }).await, "one\nt");
        let since = "2027-01-01T00:00:01Z".parse().ok();
        assert_eq!(read(Wanted { since, ..Wanted::default() }).await, "two\nthree\n");
        let stamped = read(Wanted { timestamps: true, ..Wanted::default() }).await;
        assert!(stamped.starts_with("2027-01-01T00:00:00Z one\n2027-01-01T00:00:01Z two\n"), "{stamped}");
    }
}
