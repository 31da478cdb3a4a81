//! The house is as ARCHITECTURE.md draws it: its tables name every room in order, a room imports
//! rooms above it only, and the imports told are those that are there.
#![allow(clippy::unwrap_used, reason = "a test: a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What files name, by the rooms they belong to.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// A row of a table.
struct Row {
    rooms: Vec<String>,
    imports: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The words in back quotes of a table's cell.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn table(package: &str) -> Vec<Row> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let head = format!("| room (`{package}/src/`) |");
    let (_, below) = page.split_once(&head).unwrap();
    let lines = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|');
        let rooms = quoted(cells.next().unwrap()).collect();
        Row { rooms, imports: quoted(cells.next_back().unwrap()).collect() }
    };
    lines.map(row).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The rooms whose names follow `crate::` in a file, comments aside.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = code.flat_map(|line| line.split("crate::").skip(1));
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    after
        .map(|rest| rest.chars().take_while(|c| is_name(*c)).collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

fn imports(package: &str) -> Imports {
    let source = root().join(package).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut all = Imports::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let top = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let room = top.trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&room.as_str()) || inside.ends_with("tests.rs") {
            continue;
        }
        all.entry(room).or_default().extend(named_rooms(&fs::read_to_string(&file).unwrap()));
    }
    all
}

fn check(package: &str) {
    let mut found = imports(package);
    let mut above = BTreeSet::new();
    for row in table(package) {
        let name = row.rooms.join(", ");
        let mut real = BTreeSet::new();
        for room in &row.rooms {
            let imports = found.remove(room);
            real.extend(imports.unwrap_or_else(|| panic!("{package}/src has no room `{room}`")));
        }
        real.retain(|room| !row.rooms.contains(room));
        let upwards: Vec<&String> = real.difference(&above).collect();
        assert!(
            upwards.is_empty(),
            "{package}: `{name}` imports {upwards:?}, which ARCHITECTURE.md places below it"
        );
        let cell: Vec<String> = real.iter().map(|room| format!("`{room}`")).collect();
        assert_eq!(row.imports, real, "{package}: `{name}` imports now: {}", cell.join(", "));
        above.extend(row.rooms);
    }
    assert!(found.is_empty(), "{package}: not in ARCHITECTURE.md: {:?}", found.keys());
}

#[test]
fn natsd_is_built_as_drawn() {
    check("natsd");
}

#[test]
fn natsctl_is_built_as_drawn() {
    check("natsctl");
}
