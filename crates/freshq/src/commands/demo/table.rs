//! The authorities that the documents cite, as a table: each once, those that are cited most first.

use serde_json::Value;

use super::screen::clip;

/// Rows that are shown; the rest is counted.
const ROWS_MAX: usize = 14;
const YEAR_WIDTH: usize = 4;
const TIMES_WIDTH: usize = 5;
/// Stands where a case has its name.
const NO_NAME: &str = "(statute)";
/// Two spaces between the columns, and two at the left.
const SPACES_WIDTH: usize = 2 + 3 * 2;

/// One authority.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    name: String,
    citation: String,
    year: Option<u64>,
    times: usize,
}

/// The authorities of all documents.
#[derive(Debug, Default)]
pub(super) struct Table {
    authorities: Vec<Authority>,
}

impl Table {
    /// Counts the citations that a job returned, and returns how many they are.
    pub(super) fn add(&mut self, citations: &Value) -> usize {
        let rows = citations.as_array().map(Vec::as_slice).unwrap_or_default();
        for row in rows {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let citation = match text("refers_to") {
                unknown if unknown.is_empty() => text("citation"),
                known => known,
            };
            match self.authorities.iter_mut().find(|known| known.citation == citation) {
                Some(known) => known.times += 1,
                None => self.authorities.push(Authority {
                    name: text("name"),
                    citation,
                    year: row["year"].as_u64(),
                    times: 1,
                }),
            }
        }
        rows.len()
    }

    /// How many different authorities there are.
    pub(super) fn len(&self) -> usize {
        self.authorities.len()
    }

    /// The heading, a rule, and the rows. `dim` paints what is not data.
    pub(super) fn lines(&self, width: usize, dim: &dyn Fn(&str) -> String) -> Vec<String> {
        let mut shown: Vec<&Authority> = self.authorities.iter().collect();
        // Stable: what is cited equally often stays in the order of the documents.
        shown.sort_by_key(|authority| std::cmp::Reverse(authority.times));
        shown.truncate(ROWS_MAX);
        let lengths = shown.iter().map(|authority| authority.citation.chars().count());
        let citation = lengths.max().unwrap_or_default().max("citation".len());
        let room = width.saturating_sub(citation + YEAR_WIDTH + TIMES_WIDTH + SPACES_WIDTH);
        let lengths = shown.iter().map(|authority| authority.name.chars().count());
        let name = lengths.max().unwrap_or_default().max(NO_NAME.len()).min(room);
        let row = |cells: [&str; 4]| {
            let [first, second, year, times] = cells;
            let first = clip(first, name);
            format!(
                "{first:<name$}  {second:<citation$}  {year:>YEAR_WIDTH$}  {times:>TIMES_WIDTH$}"
            )
        };
        let heading = row(["case", "citation", "year", "cited"]);
        let mut lines = vec![dim(&heading), dim(&"─".repeat(heading.chars().count()))];
        for authority in &shown {
            let year = authority.year.map_or_else(String::new, |year| year.to_string());
            let times = format!("{}×", authority.times);
            let title = if authority.name.is_empty() { NO_NAME } else { &authority.name };
            lines.push(row([title, &authority.citation, &year, &times]));
        }
        let rest = self.authorities.len() - shown.len();
        if 0 < rest {
            lines.push(dim(&format!("and {rest} more")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn citation(name: &str, citation: &str, refers_to: &str, year: Option<u64>) -> Value {
        json!({"name": name, "citation": citation, "refers_to": refers_to, "year": year})
    }

    #[test]
    fn short_citations_count_for_the_case_they_mean() {
        let mut table = Table::default();
        let rows = json!([
            citation("", "42 U.S.C. § 1983", "42 U.S.C. § 1983", None),
            citation("Terry v. Ohio", "392 U.S. 1", "392 U.S. 1", Some(1968)),
            citation("Terry v. Ohio", "Id.", "392 U.S. 1", Some(1968)),
            citation("", "347 U.S. at 495", "", None),
        ]);
        assert_eq!(table.add(&rows), 4);
        assert_eq!(table.add(&json!(null)), 0);
        assert_eq!(table.len(), 3);
        let expected = [
            "case           citation          year  cited",
            "────────────────────────────────────────────",
            "Terry v. Ohio  392 U.S. 1        1968     2×",
            "(statute)      42 U.S.C. § 1983           1×",
            "(statute)      347 U.S. at 495            1×",
        ];
        assert_eq!(table.lines(80, &str::to_owned), expected);
        assert_eq!(table.lines(42, &str::to_owned)[2], "Terry v.…  392 U.S. 1        1968     2×");
    }

    #[test]
    fn a_long_table_is_cut_and_long_names_too() {
        let mut table = Table::default();
        for number in 0..20 {
            table.add(&json!([citation(&"Name".repeat(30), &number.to_string(), "", Some(1999))]));
        }
        let lines = table.lines(80, &str::to_owned);
        assert_eq!(lines.last().unwrap(), "and 6 more");
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert!(lines[2].contains('…'));
    }
}
