//! Questions for other names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Answers that are kept; when there are more the cache begins anew.
const MOST_KEPT: usize = 2048;
/// Questions under way at once; more wait.
const MOST_ASKED: usize = 256;
/// How long one resolver has.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest that an answer is kept, in seconds.
const LONGEST: u32 = 30;

type Key = (String, RecordType);

/// Asks other resolvers and remembers what they said.
pub struct Forwarder {
    resolvers: Vec<SocketAddr>,
    kept: Mutex<HashMap<Key, (Instant, Message)>>,
    slots: Semaphore,
}

/// The resolvers of a resolv.conf.
pub fn resolvers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

impl Forwarder {
    /// Asks these, in this order.
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self { resolvers, kept: Mutex::default(), slots: Semaphore::new(MOST_ASKED) }
    }

    /// Completes a response by what others say of a name.
    pub async fn complete(&self, name: Name, kind: RecordType, mut so_far: Message) -> Message {
        match self.ask(name, kind).await {
            Some(answer) => {
                so_far.metadata.response_code = answer.metadata.response_code;
                so_far.metadata.authoritative = false;
                so_far.add_answers(answer.answers);
                so_far.add_authorities(answer.authorities);
            }
            None => so_far.metadata.response_code = ResponseCode::ServFail,
        }
        so_far
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Option<Message> {
        let key = (name.to_ascii().to_ascii_lowercase(), kind);
        if let Some(answer) = self.kept(&key) {
            return Some(answer);
        }
        let _slot = self.slots.acquire().await.ok()?;
        for resolver in &self.resolvers {
            match tokio::time::timeout(PATIENCE, exchange(*resolver, &name, kind)).await {
                Ok(Ok(answer)) if answer.metadata.response_code != ResponseCode::ServFail => {
                    self.keep(key, &answer);
                    return Some(answer);
                }
                Ok(Ok(_)) => tracing::debug!(%resolver, %name, "the resolver failed"),
                Ok(Err(error)) => tracing::debug!(%resolver, %name, %error, "the resolver cannot be asked"),
                Err(_) => tracing::debug!(%resolver, %name, "the resolver does not answer"),
            }
        }
        None
    }

    fn kept(&self, key: &Key) -> Option<Message> {
        let kept = self.kept.lock();
        let (since, answer) = kept.get(key)?;
        let age = since.elapsed().as_secs() as u32;
        if age >= life(answer) {
            return None;
        }
        let mut answer = answer.clone();
        for record in answer.answers.iter_mut().chain(&mut answer.authorities) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    fn keep(&self, key: Key, answer: &Message) {
        if life(answer) == 0 {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, (since, answer)| since.elapsed().as_secs() < u64::from(life(answer)));
            if kept.len() >= MOST_KEPT {
                kept.clear();
            }
        }
        kept.insert(key, (Instant::now(), answer.clone()));
    }
}

/// For how many seconds an answer holds.
fn life(answer: &Message) -> u32 {
    let records = answer.answers.iter().chain(&answer.authorities);
    records.map(|record| record.ttl).min().unwrap_or_default().min(LONGEST)
}

/// One question by UDP, and again by TCP if the answer was cut.
async fn exchange(resolver: SocketAddr, name: &Name, kind: RecordType) -> std::io::Result<Message> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    query.set_edns(edns);
    let bytes = query.to_vec().map_err(std::io::Error::other)?;
    let own: IpAddr = if resolver.is_ipv6() { [0u8; 16].into() } else { [0u8; 4].into() };
    // A port of its own for each question makes forged answers harder.
    let socket = UdpSocket::bind(SocketAddr::new(own, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
        if answer.metadata.id != query.metadata.id || answer.queries != query.queries {
            continue;
        }
        return if answer.metadata.truncation { by_tcp(resolver, &bytes).await } else { Ok(answer) };
    }
}

async fn by_tcp(resolver: SocketAddr, query: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_u16(query.len() as u16).await?;
    stream.write_all(query).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_and_the_rest_is_not() {
        let text = "# a\nsearch x\nnameserver 10.0.0.1\n nameserver ::1 \nnameserver x\noptions ndots:5\n";
        let expected: Vec<SocketAddr> =
            ["10.0.0.1:53", "[::1]:53"].iter().map(|one| one.parse().expect("an address")).collect();
        assert_eq!(resolvers(text), expected);
    }

    #[tokio::test]
    async fn without_resolvers_the_response_is_a_failure() {
        let name = Name::from_ascii("example.com.").expect("a name");
        let so_far = Message::response(7, hickory_proto::op::OpCode::Query);
        let response = Forwarder::new(Vec::new()).complete(name, RecordType::A, so_far).await;
        assert_eq!((response.metadata.id, response.metadata.response_code), (7, ResponseCode::ServFail));
    }
}
