//! Names of signers: a domain and a path.

use super::field::{Error, Errors, Path};
use super::text;

pub(super) fn name(signer: &str, path: &Path, errors: &mut Errors) {
    if signer.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let [domain, rest] = signer.split('/').collect::<Vec<_>>()[..] else {
        let text = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(path, signer, text));
        return;
    };
    if domain.len() > 253 {
        errors.push(Error::too_long(path, 253));
    }
    let mut labels = |part: &str, rule: text::Rule| {
        // One label is told of; what is wrong with the others reads the same.
        if let Some((label, wrong)) = part.split('.').map(|label| (label, rule(label))).find(|(_, all)| !all.is_empty())
        {
            let told = wrong.into_iter().map(|text| format!("validating label {label:?}: {text}"));
            errors.extend(told.map(|text| Error::invalid(path, part, text)));
        }
    };
    labels(domain, text::dns_label);
    let short = !domain.contains('.');
    labels(rest, text::dns_subdomain);
    if short {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, domain, text));
    }
    if signer.len() > LONGEST {
        errors.push(Error::too_long(path, LONGEST));
    }
}

/// A domain, a slash, and two names that are joined by a dot.
const LONGEST: usize = 253 + 1 + 63 + 1 + 253;
