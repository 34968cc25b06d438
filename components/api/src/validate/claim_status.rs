//! The status of ResourceClaims: what has been allocated, for whom, and how the devices are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::claims_of_devices::{self as claims, Names, bounded, unique};
use super::field::{Error, Errors, Path};
use super::volumes::driver;
use super::{IMMUTABLE, complain, list, same, slices, str_of, text};
use crate::object::Object;

const RESERVED: usize = 256;
const RESULTS: usize = 32;
const CONFIGURATIONS: usize = 64;
const CONDITIONS: usize = 8;
const ADDRESSES: usize = 16;
const INTERFACE: usize = 256;
const HARDWARE_ADDRESS: usize = 128;
const REASON: usize = 1024;
const MESSAGE: usize = 32 * 1024;

pub(super) fn status(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status");
    let nothing = Value::Null;
    let status = new.get(&["status"]).unwrap_or(&nothing);
    let before = old.get(&["status"]).unwrap_or(&nothing);
    reserved(status, before, new.is_being_deleted(), &path.child("reservedFor"), &mut errors);
    let results = list(&status["allocation"]["devices"], "results");
    let allocated: BTreeSet<String> = results.iter().map(device_id).collect();
    let (devices, at) = (list(status, "devices"), path.child("devices"));
    for (at, device) in bounded(devices, usize::MAX, &at, &mut errors).collect::<Vec<_>>() {
        self::device(device, &allocated, &at, &mut errors);
    }
    unique(devices, usize::MAX, device_id, &at, &mut errors);
    let (allocation, at) = (&status["allocation"], path.child("allocation"));
    if before["allocation"].is_object() && allocation.is_object() {
        if !same(Some(&before["allocation"]), Some(allocation)) {
            errors.push(Error::invalid(&at, allocation.clone(), IMMUTABLE));
        }
    } else if allocation.is_object() {
        let devices = new.get(&["spec", "devices"]).unwrap_or(&nothing);
        self::allocation(allocation, &claims::names(devices), &at, &mut errors);
    }
    errors
}

/// For whom a claim is kept.
fn reserved(status: &Value, before: &Value, deleted: bool, path: &Path, errors: &mut Errors) {
    let all = list(status, "reservedFor");
    for (at, one) in bounded(all, RESERVED, path, errors) {
        for field in ["resource", "name", "uid"] {
            if str_of(one, field).is_empty() {
                errors.push(Error::required(&at.child(field), ""));
            }
        }
    }
    unique(all, RESERVED, |one| str_of(one, "uid").to_owned(), path, errors);
    let old = list(before, "reservedFor");
    if !all.is_empty() && !status["allocation"].is_object() {
        errors.push(Error::forbidden(path, "may not be specified when `allocated` is not set"));
    } else if deleted && all.iter().any(|one| !old.iter().any(|before| same(Some(before), Some(one)))) {
        let text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(path, text));
    }
}

/// A device by what tells it from all others.
fn device_id(device: &Value) -> String {
    let id = ["driver", "pool", "device"].map(|field| str_of(device, field)).join("/");
    match str_of(device, "shareID") {
        "" => id,
        share => format!("{id}/{share}"),
    }
}

fn allocation(allocation: &Value, names: &Names<'_>, path: &Path, errors: &mut Errors) {
    let at = path.child("devices");
    for (at, result) in bounded(list(&allocation["devices"], "results"), RESULTS, &at.child("results"), errors) {
        claims::reference(str_of(result, "request"), names, &at.child("request"), errors);
        place(result, &at, errors);
        slices::binding(result, &at, errors);
    }
    for (at, one) in bounded(list(&allocation["devices"], "config"), CONFIGURATIONS, &at.child("config"), errors) {
        super::one_of(one, "source", &["FromClaim", "FromClass"], &at, errors);
        claims::references(one, names, &at, errors);
        claims::configuration(one, &at, errors);
    }
    claims::node_selector(allocation, path, errors);
}

/// Which device it is.
fn place(device: &Value, path: &Path, errors: &mut Errors) {
    driver(str_of(device, "driver"), &path.child("driver"), errors);
    slices::pool(str_of(device, "pool"), &path.child("pool"), errors);
    let name = str_of(device, "device");
    complain(text::dns_label(name), name, &path.child("device"), errors);
    if let Some(share) = device["shareID"].as_str() {
        uid(share, &path.child("shareID"), errors);
    }
}

fn uid(uid: &str, path: &Path, errors: &mut Errors) {
    let digit = |byte: u8| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase();
    let well = uid.len() == 36
        && uid.bytes().enumerate().all(
            |(at, byte)| {
                if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { digit(byte) }
            },
        );
    if !well {
        let text = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                    hexadecimal characters";
        errors.push(Error::invalid(path, uid, text));
    }
}

/// How an allocated device is.
fn device(device: &Value, allocated: &BTreeSet<String>, path: &Path, errors: &mut Errors) {
    place(device, path, errors);
    let id = device_id(device);
    if !allocated.contains(&id) {
        let [driver, pool, name, share] =
            ["driver", "pool", "device", "shareID"].map(|field| Value::from(str_of(device, field)).to_string());
        let shown = format!(r#"{{"Driver":{driver},"Pool":{pool},"Device":{name},"ShareID":{share}}}"#);
        errors.push(Error::invalid_text(path, &shown, "must be an allocated device in the claim"));
    }
    let conditions = list(device, "conditions");
    if conditions.len() > CONDITIONS {
        errors.push(Error::too_many(&path.child("conditions"), conditions.len(), CONDITIONS));
    }
    self::conditions(conditions, &path.child("conditions"), errors);
    if !device["data"].is_null() {
        claims::raw(&device["data"], &path.child("data"), errors);
    }
    let (network, path) = (&device["networkData"], path.child("networkData"));
    for (field, most) in [("interfaceName", INTERFACE), ("hardwareAddress", HARDWARE_ADDRESS)] {
        if str_of(network, field).len() > most {
            errors.push(Error::too_long(&path.child(field), most));
        }
    }
    let (addresses, path) = (list(network, "ips"), path.child("ips"));
    for (at, address) in bounded(addresses, ADDRESSES, &path, errors) {
        interface_address(address.as_str().unwrap_or_default(), &at, errors);
    }
    unique(addresses, ADDRESSES, |one| one.as_str().unwrap_or_default().to_owned(), &path, errors);
}

/// An address with the length of its network's prefix.
fn interface_address(text: &str, path: &Path, errors: &mut Errors) {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= most)?;
        Some(format!("{address}/{bits}"))
    });
    match parsed {
        None => {
            let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.push(Error::invalid(path, text, why));
        }
        Some(canonical) if canonical != text => {
            errors.push(Error::invalid(path, text, format!("must be in canonical form ({canonical:?})")));
        }
        Some(_) => {}
    }
}

/// Conditions as every kind may have them.
pub(super) fn conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let path = path.index(at);
        let (kind, reason) = (str_of(condition, "type"), str_of(condition, "reason"));
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        complain(text::qualified_name(kind), kind, &path.child("type"), errors);
        let status = str_of(condition, "status");
        if !["False", "True", "Unknown"].contains(&status) {
            errors.push(Error::not_supported(&path.child("status"), status, &["False", "True", "Unknown"]));
        }
        if let Some(generation) = condition["observedGeneration"].as_i64().filter(|generation| *generation < 0) {
            let text = "must be greater than or equal to zero";
            errors.push(Error::invalid(&path.child("observedGeneration"), generation, text));
        }
        if str_of(condition, "lastTransitionTime").is_empty() {
            errors.push(Error::required(&path.child("lastTransitionTime"), ""));
        }
        if reason.is_empty() {
            errors.push(Error::required(&path.child("reason"), ""));
        }
        complain(text::condition_reason(reason), reason, &path.child("reason"), errors);
        if reason.len() > REASON {
            errors.push(Error::too_long(&path.child("reason"), REASON));
        }
        if str_of(condition, "message").len() > MESSAGE {
            errors.push(Error::too_long(&path.child("message"), MESSAGE));
        }
    }
}
