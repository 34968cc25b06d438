//! Just enough DER to put a PKCS#1 or SEC 1 private key into the PKCS#8 wrapping that `ring` reads.

const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const CONTEXT_0: u8 = 0xa0;

/// Wraps a PKCS#1 `RSAPrivateKey`.
pub fn pkcs8_from_pkcs1(key: &[u8]) -> Vec<u8> {
    pkcs8(RSA_ENCRYPTION.to_vec(), key)
}

/// Wraps a SEC 1 `ECPrivateKey`; `None` when it names no curve.
pub fn pkcs8_from_sec1(key: &[u8]) -> Option<Vec<u8>> {
    let (tag, mut body, _) = element(key)?;
    if tag != SEQUENCE {
        return None;
    }
    while let Some((tag, inner, rest)) = element(body) {
        if tag == CONTEXT_0 {
            return Some(pkcs8([EC_PUBLIC_KEY, inner].concat(), key));
        }
        body = rest;
    }
    None
}

fn pkcs8(algorithm: Vec<u8>, key: &[u8]) -> Vec<u8> {
    let mut body = vec![0x02, 0x01, 0x00];
    body.extend(encode(SEQUENCE, &algorithm));
    body.extend(encode(OCTET_STRING, key));
    encode(SEQUENCE, &body)
}

fn encode(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = body.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[length.leading_zeros() as usize / 8..];
        out.push(0x80 | significant.len() as u8);
        out.extend(significant);
    }
    out.extend(body);
    out
}

/// Splits the first element off `input`: tag, contents and what follows.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (bytes, rest) = rest.split_at(count);
        (bytes.iter().fold(0usize, |all, byte| all << 8 | usize::from(*byte)), rest)
    };
    if rest.len() < length {
        return None;
    }
    let (body, rest) = rest.split_at(length);
    Some((tag, body, rest))
}
