//! The static estimate of what an expression can cost at most, by the sizes that schemas allow.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{ACCUMULATOR, Const, Expr, Fold, Kind};
use crate::check::Checked;
use crate::decl::Decl;
use crate::library::{self, Cost, Overload, Rewrite};
use crate::types::Type;

/// Between how much and how much; sums and products stay at the greatest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

impl Range {
    const fn of(exact: u64) -> Self {
        Self { min: exact, max: exact }
    }

    const fn to(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// A share, rounded up.
    fn part(self, factor: f64) -> Self {
        // A float too great for the integer becomes the greatest integer.
        let scaled = |size: u64| if size == u64::MAX { u64::MAX } else { (size as f64 * factor).ceil() as u64 };
        Self { min: scaled(self.min), max: scaled(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Where a value is in the object that an expression is about.
#[derive(Clone, Default)]
enum Place {
    /// It is of no place: a call has made it.
    #[default]
    Nowhere,
    /// It has a place that nothing is declared of.
    Unknown,
    At(Arc<Decl>),
}

impl Place {
    fn decl(&self) -> Option<&Arc<Decl>> {
        match self {
            Self::At(decl) => Some(decl),
            Self::Nowhere | Self::Unknown => None,
        }
    }
}

/// A loop's variable: where it comes from, and how large it is if that is known.
#[derive(Clone)]
struct Local {
    name: String,
    place: Place,
    size: Option<Range>,
    entry: Option<(Range, Range)>,
}

struct Estimator<'a> {
    checked: &'a Checked,
    variables: &'a HashMap<String, Arc<Decl>>,
    locals: Vec<Local>,
    places: HashMap<usize, Place>,
    sizes: HashMap<usize, Range>,
    /// The sizes of keys and of values of what is a list or a map.
    entries: HashMap<usize, (Range, Range)>,
}

/// The cost of a tree whose variables have these declarations.
pub(crate) fn estimate(tree: &Expr, checked: &Checked, variables: &HashMap<String, Arc<Decl>>) -> Range {
    let mut estimator = Estimator {
        checked,
        variables,
        locals: Vec::new(),
        places: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    estimator.cost(tree)
}

impl Estimator<'_> {
    fn local(&self, node: &Expr) -> Option<&Local> {
        let Kind::Ident(name) = &node.kind else { return None };
        self.locals.iter().rev().find(|local| local.name == *name)
    }

    fn place(&self, node: &Expr) -> Place {
        match self.local(node) {
            Some(local) => local.place.clone(),
            None => self.places.get(&node.id).cloned().unwrap_or_default(),
        }
    }

    fn decl(&self, node: &Expr) -> Option<Arc<Decl>> {
        self.place(node).decl().cloned()
    }

    /// The place of a part of a value. What is a part of something that a call has made is looked for as if it were the root
    /// itself, as upstream does, whose paths leave out how they begin.
    fn below(&self, place: &Place, part: impl Fn(&Decl) -> Option<Arc<Decl>>) -> Place {
        let found = match place {
            Place::Nowhere => self.root(),
            Place::Unknown => None,
            Place::At(decl) => part(decl),
        };
        found.map_or(Place::Unknown, Place::At)
    }

    fn root(&self) -> Option<Arc<Decl>> {
        self.variables.get("self").cloned()
    }

    fn size(&mut self, node: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&node.id) {
            return Some(*size);
        }
        let written = match &node.kind {
            Kind::Const(Const::String(text)) => Some(text.chars().count()),
            Kind::Const(Const::Bytes(bytes)) => Some(bytes.len()),
            Kind::Const(_) => Some(1),
            Kind::List(items) => Some(items.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(written) = written {
            return Some(Range::of(written as u64));
        }
        if let Some(decl) = self.decl(node) {
            let size = Range::to(0, decl.max_elements.unsigned_abs());
            self.sizes.insert(node.id, size);
            return Some(size);
        }
        if self.checked.types[node.id].is_scalar() {
            return Some(Range::of(1));
        }
        self.local(node).and_then(|local| local.size)
    }

    fn size_or_unknown(&mut self, node: &Expr) -> Range {
        self.size(node).unwrap_or(UNKNOWN)
    }

    fn entry(&self, node: &Expr) -> Option<(Range, Range)> {
        self.entries.get(&node.id).copied().or_else(|| self.local(node).and_then(|local| local.entry))
    }

    fn cost(&mut self, node: &Expr) -> Range {
        match &node.kind {
            Kind::Const(_) => Range::of(0),
            Kind::Ident(name) => {
                if self.local(node).is_none()
                    && let Some(decl) = self.variables.get(name).cloned().or_else(|| self.root())
                {
                    self.places.insert(node.id, Place::At(decl));
                }
                Range::of(1)
            }
            Kind::Select { operand, field, test } => {
                let cost = self.cost(operand);
                if *test {
                    return cost;
                }
                let place = if matches!(self.checked.types[node.id], Type::Type(_)) {
                    // The dots are in the name of a type.
                    self.below(&Place::Nowhere, |_| None)
                } else {
                    self.below(&self.place(operand), |decl| decl.field(field).or(decl.items()).cloned())
                };
                self.places.insert(node.id, place);
                match self.checked.types[operand.id] {
                    Type::Map(..) | Type::Object(_) | Type::Free(_) => cost.plus(Range::of(1)),
                    _ => cost,
                }
            }
            Kind::Call { function, target, args } => self.call(node, function, target.as_deref(), args),
            Kind::List(items) => {
                let mut cost = Range::of(10);
                let mut size: Option<Range> = None;
                for item in items {
                    cost = cost.plus(self.cost(&item.value));
                    let of_item = self.size_or_unknown(&item.value);
                    size = Some(size.map_or(of_item, |size| size.union(of_item)));
                }
                self.entries.insert(node.id, (Range::of(1), size.unwrap_or(Range::of(0))));
                cost
            }
            Kind::Map(entries) => {
                let mut cost = Range::of(30);
                let mut sizes: Option<(Range, Range)> = None;
                for entry in entries {
                    cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    let (key, value) = (self.size_or_unknown(&entry.key), self.size_or_unknown(&entry.value));
                    sizes = Some(sizes.map_or((key, value), |(keys, values)| (keys.union(key), values.union(value))));
                }
                self.entries.insert(node.id, sizes.unwrap_or((Range::of(0), Range::of(0))));
                cost
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::of(40), |cost, field| cost.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) if fold.bind => self.bind(node, fold),
            Kind::Fold(fold) => self.fold(node, fold),
        }
    }

    fn bind(&mut self, node: &Expr, fold: &Fold) -> Range {
        let mut cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        let local = Local {
            name: fold.var.clone(),
            place: self.place(&fold.init),
            size: self.size(&fold.init),
            entry: self.entry(&fold.init),
        };
        self.locals.push(local);
        cost = cost.plus(self.cost(&fold.result));
        if let Some(size) = self.size(&fold.result) {
            self.sizes.insert(node.id, size);
        }
        self.locals.pop();
        cost
    }

    fn fold(&mut self, node: &Expr, fold: &Fold) -> Range {
        let mut cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        let accumulator = Local {
            name: ACCUMULATOR.to_owned(),
            place: Place::Nowhere,
            size: self.size(&fold.init),
            entry: self.entry(&fold.init),
        };
        self.locals.push(accumulator);
        let depth = self.locals.len();
        let list = matches!(self.checked.types[fold.range.id], Type::List(_));
        let range = self.place(&fold.range);
        let items = self.below(&range, |decl| decl.items().cloned());
        let entry = self.entry(&fold.range);
        let at_keys = self.below(&range, |decl| decl.keys());
        let keys = Local { name: fold.var.clone(), place: at_keys, size: entry.map(|(key, _)| key), entry: None };
        let values = Local { name: fold.var.clone(), place: items, size: entry.map(|(_, value)| value), entry: None };
        match &fold.var2 {
            Some(var2) => {
                self.locals.push(keys);
                self.locals.push(Local { name: var2.clone(), ..values });
            }
            None if list => self.locals.push(values),
            None => self.locals.push(keys),
        }
        let round = self.cost(&fold.condition).plus(self.cost(&fold.step));
        let step = self.entry(&fold.step);
        self.locals.truncate(depth);
        cost = cost.plus(self.cost(&fold.result));
        self.locals.truncate(depth - 1);
        let rounds = self.size_or_unknown(&fold.range);
        cost = cost.plus(rounds.times(round));
        match &fold.init.kind {
            Kind::Const(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(node.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(node.id, rounds);
                if let Some(step) = step {
                    self.entries.insert(node.id, step);
                }
            }
            _ => {}
        }
        cost
    }

    fn call(&mut self, node: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        let costs: Vec<Range> = args.iter().map(|arg| self.cost(arg)).collect();
        let before = target.map_or(Range::of(0), |target| self.cost(target));
        let table = library::overloads(function).unwrap_or_default();
        let mut total: Option<Range> = None;
        let mut size: Option<Range> = None;
        for overload in self.checked.overloads[node.id].iter().filter_map(|index| table.get(*index)) {
            let (cost, result) = self.overload(node, overload, target, args, &costs);
            total = Some(total.map_or(cost, |total| total.union(cost)));
            if let Some(result) = result {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            if matches!(overload.cost, Cost::IndexList | Cost::IndexMap)
                && let [container, _] = args
            {
                size = self.entry(container).map(|(_, value)| value);
                let items = self.below(&self.place(container), |decl| decl.items().cloned());
                self.places.insert(node.id, items);
            }
        }
        if size.is_none() {
            size = self.size(node);
        }
        if let Some(size) = size {
            self.sizes.insert(node.id, size);
        }
        before.plus(total.unwrap_or(Range::of(0)))
    }

    /// The cost of a call by one of its overloads, its arguments' included, and the size of what it gives.
    fn overload(
        &mut self,
        node: &Expr,
        overload: &Overload,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Range],
    ) -> (Range, Option<Range>) {
        let sum = costs.iter().fold(Range::of(0), |sum, cost| sum.plus(*cost));
        let all: Vec<&Expr> = target.into_iter().chain(args).collect();
        let sizes: Vec<Range> = all.iter().map(|arg| self.size_or_unknown(arg)).collect();
        let size = |at: usize| sizes.get(at).copied().unwrap_or(UNKNOWN);
        let mut result = None;
        let cost = match overload.cost {
            Cost::Fixed(cost) => Range::of(cost),
            Cost::And | Cost::Or => {
                let (left, right) = (costs[0], costs[1]);
                return (Range::to(left.min, left.plus(right).max), None);
            }
            Cost::Conditional => {
                if let (Some(a), Some(b)) = (self.entry(&args[1]), self.entry(&args[2])) {
                    self.entries.insert(node.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                return (costs[0].plus(costs[1].union(costs[2])), Some(size(1).union(size(2))));
            }
            Cost::Compare => {
                if args.first().is_some_and(|arg| matches!(self.checked.types[arg.id], Type::Opaque(_))) {
                    Range::of(1)
                } else {
                    let most = size(0).max.min(size(1).max);
                    Range::to(u64::from(most > 0), most).part(0.1)
                }
            }
            Cost::Concat | Cost::ConcatLists => {
                if let (Some(a), Some(b)) = (self.entry(&args[0]), self.entry(&args[1])) {
                    self.entries.insert(node.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                let both = size(0).plus(size(1));
                result = Some(both);
                if overload.cost == Cost::Concat { both.part(0.1) } else { Range::of(1) }
            }
            Cost::InList => size(1),
            Cost::Matches => size(0).plus(Range::of(1)).part(0.1).times(size(1).part(0.25)),
            Cost::Find => {
                result = Some(Range::to(0, size(0).max));
                size(0).plus(Range::of(1)).part(0.1).times(size(1).part(0.25))
            }
            Cost::Contains => size(0).part(0.1).times(size(1).part(0.1)),
            Cost::Affix => size(1).part(0.1),
            Cost::Scan { sized } => {
                result = sized.then(|| size(0));
                size(0).part(0.1)
            }
            Cost::ScanTwice => size(0).part(0.2),
            Cost::ToBytes => {
                result = Some(Range::to(size(0).min, size(0).max.saturating_mul(4)));
                size(0).part(0.1)
            }
            Cost::ToText => {
                result = Some(Range::to(size(0).min / 4, size(0).max));
                size(0).part(0.1)
            }
            Cost::Quote => {
                result = Some(Range::to(size(0).min + 2, size(0).max.saturating_mul(2).saturating_add(2)));
                size(0).part(0.1)
            }
            Cost::Rewrite(Rewrite::Split) => {
                let most = match args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Const(Const::Int(most))) => most.unsigned_abs(),
                    _ => size(0).max,
                };
                result = Some(Range::to(0, most));
                size(0).part(0.2)
            }
            Cost::Rewrite(Rewrite::Replace) => {
                result = Some(replaced(size(0), size(1), size(2)));
                size(0).part(0.2)
            }
            Cost::Join => {
                let item = self.item_size(all[0]).unwrap_or(UNKNOWN);
                let mut joined = size(0).times(item);
                if !args.is_empty() {
                    let gaps = Range::to(size(0).min.saturating_sub(1), size(0).max.saturating_sub(1));
                    joined = joined.plus(size(1).times(gaps));
                }
                result = Some(joined);
                joined.part(0.1)
            }
            Cost::Traverse => match &self.checked.types[all[0].id] {
                Type::List(item) => {
                    let text = matches!(**item, Type::String | Type::Bytes);
                    let extra = if text { self.item_size(all[0]).unwrap_or(UNKNOWN).part(0.1) } else { Range::of(0) };
                    size(0).times(Range::of(1).plus(extra))
                }
                _ => size(0).part(0.1),
            },
            Cost::ContainsIp { parses } => {
                let both = Range::to(8, 32).part(0.1);
                if parses { both.plus(size(1).part(0.1)) } else { both }
            }
            Cost::ContainsCidr { parses } => {
                let both = Range::to(8, 32).part(0.1).plus(Range::to(4, 16).part(0.1)).plus(Range::of(1));
                if parses { both.plus(size(1).part(0.1)) } else { both }
            }
            Cost::Format => match self.checked.types[all[0].id] {
                Type::Opaque(_) => size(1).part(0.1).part(128.0 * 0.25),
                _ => size(0).part(0.1),
            },
            Cost::Slice => {
                let at = |arg: Option<&Expr>, or: u64| arg.map_or(or, |arg| written(arg, or));
                let (start, end) = (at(args.first(), 0), at(args.get(1), size(0).max));
                allocated(Range::of(end.saturating_sub(start)), 1.0, &mut result)
            }
            Cost::Count => {
                let count = args.first().map_or(u64::MAX, |arg| written(arg, u64::MAX));
                allocated(Range::of(count), 1.0, &mut result)
            }
            Cost::Flatten => {
                let depth = args.first().map_or(1, |arg| written(arg, u64::MAX));
                allocated(size(0), depth as f64, &mut result)
            }
            Cost::Reverse => allocated(size(0), 1.0, &mut result),
            Cost::CompareAll { text, keys } => {
                let list = if keys { size(1) } else { size(0) };
                allocated(list.times(list), if text { 2.1 } else { 2.0 }, &mut result)
            }
            Cost::CompareBoth { times } => size(0).times(size(1)).part(times as f64).plus(Range::of(1)),
            // The argument's cost is all there is, and its size stays known.
            Cost::Dyn => {
                if let Some(entry) = self.entry(&args[0]) {
                    self.entries.insert(node.id, entry);
                }
                result = self.size(&args[0]);
                Range::of(1)
            }
            Cost::IndexList | Cost::IndexMap => Range::of(1),
        };
        (cost.plus(sum), result)
    }

    fn item_size(&mut self, list: &Expr) -> Option<Range> {
        let items = self.decl(list).and_then(|decl| decl.items().cloned());
        match items {
            Some(items) => Some(Range::to(0, items.max_elements.unsigned_abs())),
            None => self.entry(list).map(|(_, value)| value),
        }
    }
}

/// A number as it is written, or what is taken for one that is not; none is less than nothing.
fn written(arg: &Expr, or: u64) -> u64 {
    match arg.kind {
        Kind::Const(Const::Int(number)) => u64::try_from(number).unwrap_or(0),
        _ => or,
    }
}

/// The cost of making a list of a size.
fn allocated(size: Range, factor: f64, result: &mut Option<Range>) -> Range {
    *result = Some(size);
    size.part(factor).plus(Range::of(11))
}

/// How long a string can be after replacing parts of it.
fn replaced(source: Range, old: Range, new: Range) -> Range {
    let (most, kept) = if old.min == 0 {
        (source.max.saturating_add(1), source.max)
    } else if new.max <= old.min {
        (0, source.max)
    } else {
        (source.max.div_ceil(old.min), 0)
    };
    let (least, left) = if old.max == 0 {
        (source.min.saturating_add(1), source.min)
    } else if old.max <= new.min {
        (0, source.min)
    } else {
        (source.min.div_ceil(old.max), 0)
    };
    Range::to(least, most).times(new).plus(Range::to(left, kept))
}
