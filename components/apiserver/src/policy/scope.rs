//! What expressions of policies and match conditions see.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use kinit_cel::{
    Authz, CALL_LIMIT, Decision, Decl, DeclKind, EvalError, Fields, Map, Opaque, Question, Scope, Type, Value,
    Variables, types,
};
use serde_json::Value as Json;

use super::expressions::Expression;
use crate::authn::User;
use crate::authz::Authorizer;
use crate::authz::rbac::Ask;

/// The names of variables, which upstream fixed.
const REQUEST_RESOURCE: &str = "authorizer.requestResource";

fn text() -> Decl {
    Decl::of(DeclKind::String)
}

fn texts(names: &[&str]) -> Vec<(String, Decl)> {
    names.iter().map(|name| ((*name).to_owned(), text())).collect()
}

fn map_of(values: Decl) -> Decl {
    Decl::of(DeclKind::Map(values.into()))
}

fn with(mut fields: Vec<(String, Decl)>, more: Vec<(&str, Decl)>) -> Vec<(String, Decl)> {
    fields.extend(more.into_iter().map(|(name, decl)| (name.to_owned(), decl)));
    fields
}

/// The type of `request`.
fn request() -> Decl {
    let kind = || Decl::object("kubernetes.GroupVersionKind", texts(&["group", "version", "kind"]));
    let resource = || Decl::object("kubernetes.GroupVersionResource", texts(&["group", "version", "resource"]));
    let user =
        with(texts(&["username", "uid"]), vec![("groups", Decl::list(text())), ("extra", map_of(Decl::list(text())))]);
    let fields = with(
        texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]),
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("userInfo", Decl::object("kubernetes.UserInfo", user)),
            ("dryRun", Decl::of(DeclKind::Bool)),
            ("options", Decl::of(DeclKind::Dyn)),
        ],
    );
    Decl::object("kubernetes.AdmissionRequest", fields)
}

/// The type of `namespaceObject`.
fn namespace() -> Decl {
    let metadata = with(
        texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]),
        vec![
            ("labels", map_of(text())),
            ("annotations", map_of(text())),
            ("creationTimestamp", Decl::of(DeclKind::Timestamp)),
            ("deletionTimestamp", Decl::of(DeclKind::Timestamp)),
            ("deletionGracePeriodSeconds", Decl::of(DeclKind::Int)),
            ("generation", Decl::of(DeclKind::Int)),
            ("finalizers", Decl::list(text())),
        ],
    );
    let spec = Decl::object("kubernetes.NamespaceSpec", with(Vec::new(), vec![("finalizers", Decl::list(text()))]));
    let status = Decl::object("kubernetes.NamespaceStatus", texts(&["phase"]));
    let metadata = Decl::object("kubernetes.NamespaceMetadata", metadata);
    Decl::object(
        "kubernetes.Namespace",
        with(Vec::new(), vec![("metadata", metadata), ("spec", spec), ("status", status)]),
    )
}

/// The declared variables. `object` is the type of `object` and `oldObject`.
pub(super) fn declare(object: &Type, params: Option<&Type>, authorizer: bool, patches: bool) -> Scope {
    let mut variables = HashMap::from([
        ("object".to_owned(), object.clone()),
        ("oldObject".to_owned(), object.clone()),
        ("namespaceObject".to_owned(), namespace().kind_of()),
        ("request".to_owned(), request().kind_of()),
    ]);
    if let Some(params) = params {
        variables.insert("params".to_owned(), params.clone());
    }
    if authorizer {
        variables.insert("authorizer".to_owned(), types::AUTHORIZER);
        variables.insert(REQUEST_RESOURCE.to_owned(), types::RESOURCE_CHECK);
    }
    Scope { variables, structs: structs(patches) }
}

/// The structs that an expression may make.
pub(super) fn structs(patches: bool) -> Vec<&'static str> {
    if patches { vec!["Object", "JSONPatch"] } else { Vec::new() }
}

/// Declares what `variables` has so far.
pub(super) fn declare_variables(scope: &mut Scope, known: &[(String, Type)]) {
    let fields = known.iter().map(|(name, found)| (name.clone(), Decl::of(DeclKind::Typed(found.clone()))));
    let decl = Decl::object("kubernetes.variables", fields);
    scope.variables.insert("variables".to_owned(), decl.kind_of());
}

/// The values that one evaluation begins with.
pub(super) struct Inputs<'a> {
    pub object: Option<&'a Json>,
    pub old: Option<&'a Json>,
    pub request: &'a Json,
    pub namespace: Option<&'a Json>,
    pub params: Option<&'a Json>,
    pub asker: Option<&'a Asker<'a>>,
    pub variables: &'a [(String, Expression)],
}

struct State<'a> {
    given: Inputs<'a>,
    /// Values of `variables` that have been asked for.
    known: RefCell<BTreeMap<String, Result<Value<'a>, EvalError>>>,
    /// What working those out has cost and nobody was charged for yet.
    cost: Cell<u64>,
}

/// The variables of one evaluation. Clones share what has been worked out.
#[derive(Clone)]
pub(super) struct Input<'a>(Rc<State<'a>>);

impl<'a> Input<'a> {
    pub fn new(given: Inputs<'a>) -> Self {
        Self(Rc::new(State { given, known: RefCell::default(), cost: Cell::new(0) }))
    }

    pub fn take_cost(&self) -> u64 {
        self.0.cost.take()
    }

    fn json(value: Option<&'a Json>) -> Value<'a> {
        value.map_or(Value::Null, |value| Value::of_json(value, None))
    }
}

impl<'a> Variables<'a> for Input<'a> {
    fn get(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        let given = &self.0.given;
        Some(Ok(match name {
            "object" => Self::json(given.object),
            "oldObject" => Self::json(given.old),
            "namespaceObject" => Self::json(given.namespace),
            "request" => Self::json(Some(given.request)),
            "params" => Self::json(given.params),
            "variables" => Value::Map(Map::Lazy(Rc::new(self.clone()))),
            "authorizer" => Value::Opaque(Opaque::Authz(Rc::new(Authz::new(given.asker?)))),
            REQUEST_RESOURCE => {
                let asker = given.asker?;
                Value::Opaque(Opaque::Authz(Rc::new(Authz::of_resource(asker, asker.request.clone()))))
            }
            _ => return None,
        }))
    }
}

impl<'a> Fields<'a> for Input<'a> {
    fn get(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        if let Some(known) = self.0.known.borrow().get(name) {
            return Some(known.clone());
        }
        // An expression can only name those before it, so this ends.
        let variables: &'a [(String, Expression)] = self.0.given.variables;
        let (_, expression) = variables.iter().find(|(own, _)| own == name)?;
        let result = match &expression.program {
            Ok(program) => {
                let (result, cost) = program.run(self, CALL_LIMIT);
                self.0.cost.set(self.0.cost.get().saturating_add(cost));
                result.map_err(|error| match error {
                    EvalError::CostLimit => error,
                    other => EvalError::new(format!("composited variable {name:?} fails to evaluate: {other}")),
                })
            }
            Err(error) => Err(EvalError::new(format!("composited variable {name:?} fails to compile: {error}"))),
        };
        self.0.known.borrow_mut().insert(name.to_owned(), result.clone());
        Some(result)
    }
}

/// Asks the authorizer for the user of a request.
pub(super) struct Asker<'c> {
    pub authorizer: &'c Authorizer,
    pub user: &'c User,
    /// What is asked of the request's own resource.
    pub request: Question,
}

impl kinit_cel::Authorizer for Asker<'_> {
    fn check(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref().map(|(namespace, name)| {
            let of_namespace = format!("system:serviceaccounts:{namespace}");
            let groups = ["system:serviceaccounts", &of_namespace, "system:authenticated"];
            User::new(format!("system:serviceaccount:{namespace}:{name}"), &groups)
        });
        let user = account.as_ref().unwrap_or(self.user);
        let ask = match &question.path {
            Some(path) => Ask::Path { verb: &question.verb, path },
            None => Ask::Resource {
                verb: &question.verb,
                group: &question.group,
                resource: &question.resource,
                subresource: &question.subresource,
                name: &question.name,
                namespace: &question.namespace,
            },
        };
        let node = question.field_selector.as_deref().and_then(|selector| selector.strip_prefix("spec.nodeName="));
        let allowed = self.authorizer.allows(user, &ask, node.unwrap_or_default().trim_start_matches('='));
        Decision { allowed, ..Decision::default() }
    }
}
