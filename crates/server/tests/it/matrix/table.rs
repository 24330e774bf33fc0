//! Reads the table.

/// Every route and everybody, with what they are answered.
pub(super) const TEXT: &str = include_str!("table.txt");

/// A route and the status of its success.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) success: u16,
    /// The column it belongs to, where columns are routes and no repositories.
    pub(super) column: Option<String>,
    /// A word of the table, and what this route answers there instead.
    pub(super) instead: Option<(String, String)>,
}

/// What one principal is answered, by column.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) who: String,
    pub(super) cells: Vec<String>,
}

/// Routes that are answered alike.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// The whole table. Panics where a line is none of it.
pub(super) fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in TEXT.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let owned = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["==", name] => blocks.push(Block {
                name: (*name).to_owned(),
                routes: Vec::new(),
                columns: Vec::new(),
                rows: Vec::new(),
            }),
            [method, path, success, rest @ ..] if path.starts_with('/') => {
                let mut route = Route {
                    method: (*method).to_owned(),
                    path: (*path).to_owned(),
                    success: success.parse().expect("the status of its success"),
                    column: None,
                    instead: None,
                };
                for word in rest {
                    match word.split_once('=') {
                        Some((one, other)) => {
                            route.instead = Some((one.to_owned(), other.to_owned()));
                        }
                        None => route.column = Some((*word).to_owned()),
                    }
                }
                blocks
                    .last_mut()
                    .expect("a route is of a block")
                    .routes
                    .push(route);
            }
            [">", columns @ ..] => {
                blocks.last_mut().expect("columns are of a block").columns = owned(columns);
            }
            [who, cells @ ..] => {
                let block = blocks.last_mut().expect("a row is of a block");
                assert_eq!(
                    cells.len(),
                    block.columns.len(),
                    "`{line}` of `{}`",
                    block.name
                );
                block.rows.push(Row {
                    who: (*who).to_owned(),
                    cells: owned(cells),
                });
            }
        }
    }
    blocks
}

impl Route {
    /// What it answers where a cell has that word.
    pub(super) fn expected<'a>(&'a self, cell: &'a str) -> &'a str {
        match &self.instead {
            Some((one, other)) if one == cell => other,
            _ => cell,
        }
    }
}

impl Block {
    /// The cell of a row.
    pub(super) fn cell(&self, who: &str, column: &str) -> Option<&str> {
        let row = self.rows.iter().find(|row| row.who == who)?;
        let place = self.columns.iter().position(|name| name == column)?;
        Some(&row.cells[place])
    }
}
