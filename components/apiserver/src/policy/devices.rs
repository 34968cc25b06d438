//! The expressions by which claims and classes select devices.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kinit_api::object::Object;
use kinit_api::validate::field::{Error, Errors, Path};
use kinit_cel::types::QUANTITY;
use kinit_cel::{Decl, DeclKind, Program, Scope, Type};
use serde_json::Value;

/// What an expression may cost.
const MOST_COST: u64 = 1_000_000;
/// The greatest length of what a device has.
const DRIVER: i64 = 63;
const TEXT: i64 = 64;
const PROPERTIES: i64 = 32;

/// What expressions see of a device.
struct Devices {
    scope: Scope,
    variables: HashMap<String, Arc<Decl>>,
}

static DEVICES: LazyLock<Devices> = LazyLock::new(|| {
    let sized = |kind, most| Decl { max_elements: most, ..Decl::of(kind) };
    let properties = |values: Decl| {
        let inner = sized(DeclKind::Map(Arc::new(values)), PROPERTIES);
        sized(DeclKind::Map(Arc::new(inner)), PROPERTIES)
    };
    let fields = [
        ("driver", sized(DeclKind::String, DRIVER)),
        ("attributes", properties(sized(DeclKind::Dyn, TEXT))),
        ("capacity", properties(Decl::of(DeclKind::Typed(QUANTITY)))),
        ("allowMultipleAllocations", sized(DeclKind::Bool, 1)),
    ];
    let device = Decl::object("kubernetes.DRADevice", fields.map(|(name, decl)| (name.to_owned(), decl)));
    let mut scope = Scope::default();
    scope.variables.insert("device".to_owned(), device.kind_of());
    Devices { scope, variables: HashMap::from([("device".to_owned(), Arc::new(device))]) }
});

/// What is wrong with the expressions of an object of `resource.k8s.io`.
pub(super) fn check(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.get(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    match kind {
        "DeviceClass" => selectors(spec, &path, &mut errors),
        "ResourceClaim" => requests(spec, &path, &mut errors),
        "ResourceClaimTemplate" => requests(&spec["spec"], &path.child("spec"), &mut errors),
        _ => {}
    }
    errors
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn requests(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("devices.requests");
    for (at, request) in list(&spec["devices"], "requests").iter().enumerate() {
        let path = path.index(at);
        selectors(&request["exactly"], &path.child("exactly"), errors);
        for (at, alternative) in list(request, "firstAvailable").iter().enumerate() {
            selectors(alternative, &path.child("firstAvailable").index(at), errors);
        }
    }
}

fn selectors(holder: &Value, path: &Path, errors: &mut Errors) {
    for (at, selector) in list(holder, "selectors").iter().enumerate() {
        if let Some(source) = selector["cel"]["expression"].as_str() {
            expression(source, &path.child("selectors").index(at).child("cel.expression"), errors);
        }
    }
}

fn expression(source: &str, path: &Path, errors: &mut Errors) {
    let program = match Program::compile(source, &DEVICES.scope) {
        Ok(program) => program,
        Err(error) => {
            errors.push(Error::invalid(path, source, format!("compilation failed: {error}")));
            return;
        }
    };
    let gives = program.result();
    if !matches!(gives, Type::Bool | Type::Dyn) {
        let why = format!("must evaluate to bool or the unknown type, not {gives}");
        errors.push(Error::invalid(path, source, why));
    } else if program.estimate(&DEVICES.variables).max > MOST_COST {
        errors.push(Error::forbidden(path, "too complex, exceeds cost limit"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &str) -> String {
        let mut errors = Errors::new();
        expression(source, &Path::new("e"), &mut errors);
        errors.first().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn expressions_are_about_a_device() {
        for good in [
            "device.driver == 'd.example' && device.attributes['d.example'].cores > 4",
            "device.attributes['d.example'].shared",
            "device.capacity['d.example'].memory.compareTo(quantity('1Gi')) >= 0",
            "has(device.attributes['d.example'].version) && device.attributes['d.example'].version.isGreaterThan(semver('1.0.0'))",
            "device.allowMultipleAllocations",
        ] {
            assert_eq!(told(good), "", "{good}");
        }
        assert!(
            told("device.drivr == ''")
                .starts_with("e: Invalid value: \"device.drivr == ''\": compilation failed: ERROR: ")
        );
        let number = "e: Invalid value: \"1\": must evaluate to bool or the unknown type, not int";
        assert_eq!(told("1"), number);
        let costly = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, true))))";
        assert_eq!(told(costly), "e: Forbidden: too complex, exceeds cost limit");
    }
}
