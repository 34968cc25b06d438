//! Answers to queries.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::zone::{Answer, Data, Zone};

/// How long answers may be kept, in seconds. An address of a Service is its own for as long as it is there.
const TTL: u32 = 30;
/// How long it may be remembered that there is no name, in seconds.
const NEGATIVE_TTL: u32 = 5;
/// The most bytes that go by UDP, even if the other side would take more: longer packets come in fragments.
const MOST_BY_UDP: u16 = 1232;

/// What becomes of a query.
#[derive(Debug)]
pub enum Outcome {
    /// This is the response.
    Response(Message),
    /// Another server must be asked; the name is an alias' target if the records are there already.
    Ask {
        /// What to ask for.
        name: Name,
        /// The response so far.
        so_far: Message,
    },
    /// It is no query, and is not responded to.
    Ignore,
}

/// Answers from the zone. `turn` varies the order of addresses, so that clients which take the first spread.
pub fn answer(query: &Message, zone: &Zone, turn: usize) -> Outcome {
    if query.metadata.message_type != MessageType::Query {
        return Outcome::Ignore;
    }
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    if let Some(edns) = &query.edns {
        let mut own = Edns::new();
        own.set_max_payload(MOST_BY_UDP).set_dnssec_ok(edns.flags().dnssec_ok);
        response.set_edns(own);
    }
    let refuse = |mut response: Message, code| {
        response.metadata.response_code = code;
        Outcome::Response(response)
    };
    if query.metadata.op_code != OpCode::Query {
        return refuse(response, ResponseCode::NotImp);
    }
    let [question] = &query.queries[..] else { return refuse(response, ResponseCode::FormErr) };
    response.add_query(question.clone());
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(response, ResponseCode::BADVERS);
    }
    if question.query_class() != DNSClass::IN {
        return refuse(response, ResponseCode::Refused);
    }
    let mut owner = question.name().clone();
    // Aliases within the cluster are followed a few times only: they may go in circles.
    for _ in 0..8 {
        match zone.answer(&plain(&owner)) {
            Answer::Elsewhere => return Outcome::Ask { name: owner, so_far: response },
            Answer::NoName => {
                response.metadata.response_code = ResponseCode::NXDomain;
                return negative(response, zone);
            }
            Answer::Found(data) => {
                response.metadata.authoritative = true;
                let alias = data.iter().find_map(|one| if let Data::Alias(target) = one { name(target) } else { None });
                if let Some(target) = alias.filter(|_| question.query_type() != RecordType::CNAME) {
                    response.add_answer(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(target.clone()))));
                    owner = target;
                    continue;
                }
                let mut records: Vec<Record> = data
                    .iter()
                    .filter_map(|one| record(one, question.query_type()))
                    .map(|data| Record::from_rdata(owner.clone(), TTL, data))
                    .collect();
                if records.is_empty() {
                    return negative(response, zone);
                }
                let first = turn % records.len();
                records.rotate_left(first);
                response.add_additionals(addresses_of(&records, zone));
                response.add_answers(records);
                return Outcome::Response(response);
            }
        }
    }
    refuse(response, ResponseCode::ServFail)
}

/// The addresses of those who have the ports of an answer: it saves clients a question for each.
fn addresses_of(records: &[Record], zone: &Zone) -> Vec<Record> {
    let targets = records.iter().filter_map(|record| match &record.data {
        RData::SRV(service) => Some(service.target.clone()),
        _ => None,
    });
    let mut addresses = Vec::new();
    for target in targets {
        let Answer::Found(data) = zone.answer(&plain(&target)) else { continue };
        let all = data.iter().filter_map(|one| record(one, RecordType::A).or_else(|| record(one, RecordType::AAAA)));
        for address in all.map(|data| Record::from_rdata(target.clone(), TTL, data)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    addresses
}

fn negative(mut response: Message, zone: &Zone) -> Outcome {
    response.metadata.authoritative = true;
    let domain = name(zone.domain());
    let (server, mail) = (name(&format!("ns.dns.{}", zone.domain())), name(&format!("hostmaster.{}", zone.domain())));
    if let (Some(domain), Some(server), Some(mail)) = (domain, server, mail) {
        let soa = SOA::new(server, mail, 1, 7200, 1800, 86400, NEGATIVE_TTL);
        response.add_authority(Record::from_rdata(domain, NEGATIVE_TTL, RData::SOA(soa)));
    }
    Outcome::Response(response)
}

fn record(data: &Data, wanted: RecordType) -> Option<RData> {
    let any = wanted == RecordType::ANY;
    match data {
        Data::Address(std::net::IpAddr::V4(address)) if any || wanted == RecordType::A => Some(RData::A(A(*address))),
        Data::Address(std::net::IpAddr::V6(address)) if any || wanted == RecordType::AAAA => {
            Some(RData::AAAA(AAAA(*address)))
        }
        Data::Service { port, target } if any || wanted == RecordType::SRV => {
            Some(RData::SRV(SRV::new(0, 100, *port, name(target)?)))
        }
        Data::Pointer(target) if any || wanted == RecordType::PTR => Some(RData::PTR(PTR(name(target)?))),
        Data::Alias(target) if any || wanted == RecordType::CNAME => Some(RData::CNAME(CNAME(name(target)?))),
        Data::Text(text) if any || wanted == RecordType::TXT => Some(RData::TXT(TXT::new(vec![text.clone()]))),
        _ => None,
    }
}

/// A name's form in the zone.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The bytes of a response. By UDP it is cut to what the other side takes, and says so.
pub fn encode(response: &Message, query: &Message, udp: bool) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    if !udp {
        return Some(bytes);
    }
    let most = query.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, MOST_BY_UDP));
    if bytes.len() <= usize::from(most) {
        return Some(bytes);
    }
    let mut cut = response.clone();
    cut.metadata.truncation = true;
    cut.additionals.clear();
    loop {
        let bytes = cut.to_vec().ok()?;
        if bytes.len() <= usize::from(most) {
            return Some(bytes);
        }
        if cut.answers.pop().is_none() && cut.authorities.pop().is_none() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
