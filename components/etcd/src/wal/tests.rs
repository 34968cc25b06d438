use super::*;

type Read = Vec<(u64, u64, Vec<u8>)>;

fn open(directory: &Path) -> Result<(Wal, Read), WalError> {
    let (wal, found) = Wal::open(directory, 1)?;
    Ok((wal, found.entries.into_iter().map(|entry| (entry.index, entry.term, entry.data.to_vec())).collect()))
}

fn entries(first: u64, term: u64, batch: &[&str]) -> Vec<Entry> {
    let entry = |(index, data): (u64, &&str)| Entry { index, term, members: false, data: data.to_string().into() };
    (first..).zip(batch).map(entry).collect()
}

fn append(wal: &mut Wal, batch: &[&str]) {
    wal.append(wal.hard_state, &entries(wal.next_index, 3, batch)).expect("the disk works");
}

fn only_segment(directory: &Path) -> PathBuf {
    let names = segment::list(directory).expect("readable");
    directory.join(names.last().expect("one segment").file_name())
}

#[test]
fn entries_and_state_survive_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, none) = open(directory.path()).expect("opens");
    assert!(none.is_empty());
    wal.append(HardState { term: 3, vote: 9, commit: 7 }, &[]).expect("stored");
    append(&mut wal, &["a", "bb"]);
    append(&mut wal, &["ccc"]);
    drop(wal);

    let (wal, entries) = open(directory.path()).expect("opens again");
    assert_eq!(entries, [(1, 3, b"a".to_vec()), (2, 3, b"bb".to_vec()), (3, 3, b"ccc".to_vec())]);
    assert_eq!((wal.next_index, wal.hard_state), (4, HardState { term: 3, vote: 9, commit: 7 }));
}

#[test]
fn a_tail_cut_at_any_byte_loses_only_the_last_batch() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    append(&mut wal, &["kept"]);
    let before = wal.segment.end_for_tests();
    append(&mut wal, &["lost", "lost too, and a little longer"]);
    let after = wal.segment.end_for_tests();
    drop(wal);
    let path = only_segment(directory.path());
    let whole = std::fs::read(&path).expect("readable");

    for cut in before..after - frame::ALIGN as u64 {
        for blank in [false, true] {
            let mut bytes = whole[..cut as usize].to_vec();
            if blank {
                bytes.resize(whole.len(), 0);
            }
            std::fs::write(&path, bytes).expect("writable");
            let (mut wal, entries) = open(directory.path()).expect("a torn tail is cut");
            assert_eq!(entries, [(1, 3, b"kept".to_vec())], "cut at {cut}");
            append(&mut wal, &["next"]);
            drop(wal);
            let (_, entries) = open(directory.path()).expect("opens after the cut");
            assert_eq!(entries, [(1, 3, b"kept".to_vec()), (2, 3, b"next".to_vec())], "cut at {cut}");
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_at_every_byte() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    append(&mut wal, &["first"]);
    let end = wal.segment.end_for_tests() as usize;
    append(&mut wal, &["second"]);
    drop(wal);
    let path = only_segment(directory.path());
    let whole = std::fs::read(&path).expect("readable");

    for at in 0..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).expect("writable");
        match open(directory.path()) {
            Err(WalError::Damaged { .. }) => {}
            // Bytes that only align the next frame carry nothing.
            Ok((_, entries)) => assert_eq!(entries.len(), 2, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn segments_roll_and_are_released() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    wal.append(HardState { term: 5, vote: 1, commit: 0 }, &[]).expect("stored");
    let large = "x".repeat(24 << 10);
    for _ in 0..8 {
        append(&mut wal, &[&large]);
    }
    assert_eq!(segment::list(directory.path()).expect("readable").len(), 3);
    wal.release(3).expect("released");
    assert_eq!(wal.first_index(), 4);
    wal.release(8).expect("released");
    let first = wal.first_index();
    drop(wal);

    let (wal, entries) = open(directory.path()).expect("opens");
    assert_eq!(entries.first().map(|entry| entry.0), Some(first));
    assert_eq!((wal.next_index, wal.hard_state.term), (9, 5));
}

#[test]
fn a_leader_replaces_entries() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    append(&mut wal, &["a", "b", "c"]);
    let state = HardState { term: 4, vote: 2, commit: 2 };
    let mut newer = entries(2, 4, &["x"]);
    newer[0].members = true;
    wal.append(state, &newer).expect("written");
    drop(wal);
    let (wal, found) = Wal::open(directory.path(), 1).expect("opens");
    assert_eq!(found.entries, [entries(1, 3, &["a"]), newer].concat());
    assert_eq!((wal.next_index, found.hard_state), (3, state));
}

#[test]
fn it_goes_on_behind_a_snapshot() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    append(&mut wal, &["a", "b"]);
    let (state, place) = (HardState { term: 9, vote: 0, commit: 50 }, Place { index: 50, term: 8 });
    wal.restart_behind(state, place).expect("written");
    wal.append(state, &entries(51, 9, &["x"])).expect("written");
    drop(wal);
    let (wal, found) = Wal::open(directory.path(), 1).expect("opens");
    assert_eq!(wal.next_index, 52);
    let expected = Recovered { hard_state: state, restarted: Some(place), entries: entries(51, 9, &["x"]) };
    assert_eq!(found, expected);
}

#[test]
fn a_missing_segment_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = open(directory.path()).expect("opens");
    let large = "x".repeat(24 << 10);
    for _ in 0..8 {
        append(&mut wal, &[&large]);
    }
    drop(wal);
    let names = segment::list(directory.path()).expect("readable");
    std::fs::remove_file(directory.path().join(names[1].file_name())).expect("removable");
    assert!(matches!(open(directory.path()), Err(WalError::Gap { .. })));
}
