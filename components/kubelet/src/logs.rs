//! Reading the logs that the runtime writes: `time stream tag text` lines, where tag `P` marks a line that goes on.

use std::path::{Path, PathBuf};
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
    /// Of which streams.
    pub streams: Streams,
}

/// The streams of a container that its log is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    /// Both.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of the file.
struct Line<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    text: &'a [u8],
    /// Whether the text ends there.
    full: bool,
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or_default();
    Some(Line { time, stream, text, full: tag.first() == Some(&b'F') })
}

/// Renders a line of the file as it is wanted; `None` when it is too old or no log line.
fn render(line: &[u8], wanted: &Wanted, begins: bool) -> Option<(Vec<u8>, bool)> {
    let Line { time, stream, text, full } = parse(line)?;
    match wanted.streams {
        Streams::Stdout if stream != b"stdout" => return None,
        Streams::Stderr if stream != b"stderr" => return None,
        _ => {}
    }
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

/// The text of the last lines of a log; empty if there is none.
pub fn tail(path: &Path, lines: usize) -> Vec<u8> {
    use std::io::{Read, Seek};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(BLOCK as u64)))?;
        let mut block = Vec::new();
        file.take(BLOCK as u64).read_to_end(&mut block)?;
        Ok(block)
    };
    let block = read().unwrap_or_default();
    let all: Vec<&[u8]> = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let wanted = Wanted::default();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().filter_map(|line| render(line, &wanted, true)).flat_map(|(text, _)| text).collect()
}

/// The file that a log goes on in, if it was begun anew.
async fn successor(file: &File, path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata().await.ok()?;
    let present = tokio::fs::metadata(path).await.ok()?;
    if (own.dev(), own.ino()) == (present.dev(), present.ino()) {
        return None;
    }
    File::open(path).await.ok()
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
    let mut next = None;
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
        if !wanted.follow {
            return Ok(());
        }
        // Once there is a new file nothing is written to the old one, which is read to its end before.
        match next.take() {
            Some(new) => {
                file = new;
                continue;
            }
            None => next = successor(&file, &path).await,
        }
        if next.is_some() {
            continue;
        }
        if last {
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

    #[test]
    fn the_end_of_a_log_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        assert_eq!(tail(&path, 1), b"three\n");
        assert_eq!(tail(&path, 80), b"one\ntwo\nthree\n");
        assert!(tail(&folder.path().join("none"), 1).is_empty());
    }

    #[tokio::test]
    async fn logs_are_cut_as_wanted() {
        assert_eq!(read(Wanted::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { follow: true, ..Wanted::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { tail: Some(1), ..Wanted::default() }).await, "three\n");
        assert_eq!(read(Wanted { tail: Some(9), ..Wanted::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { tail: Some(0), ..Wanted::default() }).await, "");
        assert_eq!(read(Wanted { limit: Some(5), ..Wanted::default() }).await, "one\nt");
        assert_eq!(read(Wanted { streams: Streams::Stdout, ..Wanted::default() }).await, "one\nthree\n");
        let since = "2027-01-01T00:00:01Z".parse().ok();
        assert_eq!(read(Wanted { since, ..Wanted::default() }).await, "two\nthree\n");
        let stamped = read(Wanted { timestamps: true, ..Wanted::default() }).await;
        assert!(stamped.starts_with("2027-01-01T00:00:00Z one\n2027-01-01T00:00:01Z two\n"), "{stamped}");
    }

    #[tokio::test]
    async fn a_log_is_followed_into_its_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut chunks) = tokio::sync::mpsc::channel(8);
        let (looks, log) = (std::cell::Cell::new(0), path.clone());
        // The log is begun anew while it is followed; the container ends later.
        let ended = || {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                std::fs::write(&log, format!("{LOG}2027-01-01T00:00:03Z stdout F four\n")).unwrap();
                std::fs::rename(&log, log.with_extension("old")).unwrap();
                std::fs::write(&log, "2027-01-01T00:00:04Z stdout F five\n").unwrap();
            }
            std::future::ready(looks.get() == 3)
        };
        send(path, Wanted { follow: true, ..Wanted::default() }, out, ended).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        assert_eq!(String::from_utf8(all).unwrap(), "one\ntwo\nthree\nfour\nfive\n");
    }
}
