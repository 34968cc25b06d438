//! What expressions may ask about permissions. Who answers is the caller's.

use std::rc::Rc;

/// What is asked: of a path or of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Another than the user of the request: a service account's namespace and name.
    pub service_account: Option<(String, String)>,
    pub verb: String,
    /// Set for a path; the rest is then empty.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: Option<String>,
    pub label_selector: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Answers whether something is allowed.
pub trait Authorizer {
    fn check(&self, question: &Question) -> Decision;
}

/// How far a question has been put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// A question that is being put together.
#[derive(Clone)]
pub struct Authz<'a> {
    pub(crate) stage: Stage,
    pub(crate) question: Question,
    pub(crate) authorizer: &'a dyn Authorizer,
}

impl<'a> Authz<'a> {
    pub fn new(authorizer: &'a dyn Authorizer) -> Self {
        Self { stage: Stage::Authorizer, question: Question::default(), authorizer }
    }

    /// A question of a resource that only lacks its verb.
    pub fn of_resource(authorizer: &'a dyn Authorizer, question: Question) -> Self {
        Self { stage: Stage::Resource, question, authorizer }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }

    pub(crate) fn with(&self, stage: Stage, change: impl FnOnce(&mut Question)) -> Rc<Self> {
        let mut next = self.clone();
        next.stage = stage;
        change(&mut next.question);
        Rc::new(next)
    }
}
