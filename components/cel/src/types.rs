//! Types of expressions, as the checker sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::decl::ObjectDecl;

/// A type. Variables stand for what is not known yet; in declarations they are numbered from 0.
#[derive(Clone, Debug)]
pub enum Type {
    Dyn,
    /// The type of what has been reported already: it fits everywhere.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    Var(usize),
    Object(Arc<ObjectDecl>),
    /// A struct that expressions build, whose fields are not declared: `Object.spec`.
    Free(Arc<str>),
    /// A type of one of the libraries, whose values have functions but no fields.
    Opaque(&'static str),
}

pub const URL: Type = Type::Opaque("kubernetes.URL");
pub const QUANTITY: Type = Type::Opaque("kubernetes.Quantity");
pub const SEMVER: Type = Type::Opaque("kubernetes.Semver");
pub const FORMAT: Type = Type::Opaque("kubernetes.NamedFormat");
pub const IP: Type = Type::Opaque("net.IP");
pub const CIDR: Type = Type::Opaque("net.CIDR");
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
pub const PATH_CHECK: Type = Type::Opaque("kubernetes.authorization.PathCheck");
pub const GROUP_CHECK: Type = Type::Opaque("kubernetes.authorization.GroupCheck");
pub const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");
pub const DECISION: Type = Type::Opaque("kubernetes.authorization.Decision");

impl Type {
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether values of the type have a size that their type alone tells.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b))
            | (Self::Optional(a), Self::Optional(b))
            | (Self::Type(a), Self::Type(b)) => a.same(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.same(c) && b.same(d),
            (Self::Var(a), Self::Var(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Free(a), Self::Free(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Var(number) => write!(f, "_var{number}"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Free(name) => f.write_str(name),
            Self::Opaque(name) => f.write_str(name),
        }
    }
}

/// What type variables stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Substitution {
    bound: BTreeMap<usize, Type>,
    next: usize,
}

impl Substitution {
    pub fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Var(self.next - 1)
    }

    /// The type with all bound variables replaced, and with `to_dyn` all others by dyn.
    pub fn apply(&self, given: &Type, to_dyn: bool) -> Type {
        match given {
            Type::Var(number) => match self.bound.get(number) {
                Some(bound) => self.apply(bound, to_dyn),
                None if to_dyn => Type::Dyn,
                None => given.clone(),
            },
            Type::List(item) => Type::list(self.apply(item, to_dyn)),
            Type::Optional(inner) => Type::optional(self.apply(inner, to_dyn)),
            Type::Type(inner) => Type::Type(Arc::new(self.apply(inner, to_dyn))),
            Type::Map(key, value) => Type::map(self.apply(key, to_dyn), self.apply(value, to_dyn)),
            _ => given.clone(),
        }
    }

    /// A declaration's type with its variables shifted to fresh ones, `base` the first of them.
    pub fn instantiate(given: &Type, base: usize) -> Type {
        match given {
            Type::Var(number) => Type::Var(base + number),
            Type::List(item) => Type::list(Self::instantiate(item, base)),
            Type::Optional(inner) => Type::optional(Self::instantiate(inner, base)),
            Type::Type(inner) => Type::Type(Arc::new(Self::instantiate(inner, base))),
            Type::Map(key, value) => Type::map(Self::instantiate(key, base), Self::instantiate(value, base)),
            _ => given.clone(),
        }
    }

    /// Numbers for the variables of a declaration.
    pub fn reserve(&mut self, count: usize) -> usize {
        self.next += count;
        self.next - count
    }

    /// Whether all of `given` fit `wanted`; what variables came to stand for is kept only if they do.
    pub fn assign_all(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        if given.len() != wanted.len() {
            return false;
        }
        let saved = self.bound.clone();
        let fits = given.iter().zip(wanted).all(|(given, wanted)| self.unify(given, wanted));
        if !fits {
            self.bound = saved;
        }
        fits
    }

    pub fn assign(&mut self, given: &Type, wanted: &Type) -> bool {
        self.assign_all(std::slice::from_ref(given), std::slice::from_ref(wanted))
    }

    fn unify(&mut self, given: &Type, wanted: &Type) -> bool {
        if let Type::Var(number) = wanted {
            let (fits, bound) = self.bind(given, *number);
            if fits || bound {
                return fits;
            }
        }
        if let Type::Var(number) = given {
            return self.bind(wanted, *number).0;
        }
        if given.is_dyn_or_error() || wanted.is_dyn_or_error() {
            return true;
        }
        match (given, wanted) {
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Optional(_)
                    | Type::Opaque(_)
                    | Type::Object(_)
                    | Type::Free(_)
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.unify(a, c) && self.unify(b, d),
            _ => given.same(wanted),
        }
    }

    /// Whether a variable may stand for the type, and whether it stood for something before.
    fn bind(&mut self, given: &Type, number: usize) -> (bool, bool) {
        if matches!(given, Type::Var(other) if *other == number) {
            return (true, true);
        }
        if let Some(bound) = self.bound.get(&number).cloned() {
            if given.same(&bound) {
                return (true, true);
            }
            if !self.unify(given, &bound) {
                return (false, true);
            }
            let general = if less_specific(given, &bound) { given.clone() } else { bound };
            if !self.occurs(number, &general) {
                self.bound.insert(number, general);
            }
            return (true, true);
        }
        if self.occurs(number, given) {
            return (false, false);
        }
        self.bound.insert(number, given.clone());
        (true, false)
    }

    fn occurs(&self, number: usize, within: &Type) -> bool {
        match within {
            Type::Var(other) => {
                *other == number || self.bound.get(other).is_some_and(|bound| self.occurs(number, bound))
            }
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => self.occurs(number, inner),
            Type::Map(key, value) => self.occurs(number, key) || self.occurs(number, value),
            _ => false,
        }
    }
}

/// Whether the first type is the second or a more general form of it.
pub(crate) fn less_specific(general: &Type, given: &Type) -> bool {
    match (general, given) {
        (Type::Dyn | Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Var(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => less_specific(a, b),
        (Type::Map(a, b), Type::Map(c, d)) => less_specific(a, c) && less_specific(b, d),
        (Type::Type(_), Type::Type(_)) => true,
        _ => general.same(given),
    }
}
