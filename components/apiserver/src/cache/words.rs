//! Many short texts in one piece of memory: what selectors look at in an object would otherwise take more than half as much
//! room as the object.

use std::collections::BTreeMap;

use kinit_api::selector;

/// Texts by their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Words {
    pub fn new<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for word in words {
            text.push_str(word);
            ends.push(u32::try_from(text.len()).expect("an object is far smaller than 4 GB"));
        }
        Self { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }
    }

    pub fn get(&self, at: usize) -> &str {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[begin..self.ends[at] as usize]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The labels of an object: keys and values by turns from a place on, sorted by keys.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'w> {
    pub(super) words: &'w Words,
    pub(super) begin: usize,
}

impl<'w> Labels<'w> {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&'w str> {
        let (mut low, mut high) = (0, (self.words.len() - self.begin) / 2);
        while low < high {
            let middle = low.midpoint(high);
            let (own, value) = self.pair(middle);
            match own.cmp(key) {
                std::cmp::Ordering::Equal => return Some(value),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn pair(&self, at: usize) -> (&'w str, &'w str) {
        let place = self.begin + 2 * at;
        (self.words.get(place), self.words.get(place + 1))
    }

    pub fn iter(self) -> impl Iterator<Item = (&'w str, &'w str)> {
        (0..(self.words.len() - self.begin) / 2).map(move |at| self.pair(at))
    }

    pub fn to_map(self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl selector::Labels for Labels<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_their_keys() {
        for count in 0..9 {
            let map: BTreeMap<String, String> = (0..count).map(|at| (format!("k{at}"), "v".repeat(at))).collect();
            let pairs = map.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
            let words = Words::new(["first", ""].into_iter().chain(pairs));
            let labels = Labels { words: &words, begin: 2 };
            assert_eq!((words.get(0), words.get(1), labels.to_map()), ("first", "", map.clone()));
            for key in ["", "k", "k0", "k3", "k8", "l"] {
                assert_eq!(labels.get(key), map.get(key).map(String::as_str), "{count} {key}");
            }
        }
    }
}
