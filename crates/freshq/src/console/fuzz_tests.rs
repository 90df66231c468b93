//! Whatever answers at a control socket, what is shown of it is text and no crash.

use std::path::Path;

use embedded::testing::fuzz;
use supervisor::control::Answer;
use supervisor::event::Event;
use supervisor::reload::machine::RollBackCause;

use super::columns::Columns;
use super::{Level, Printer, status_page};

/// A moment in the time of the corpus, in Unix seconds.
const NOW: f64 = 1_795_620_000.0;

#[test]
fn status_page_and_answers() {
    // The corpus of those who read them first.
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/fuzz/control");
    let here = Path::new("/app");
    let out = Printer::stdout();
    let columns =
        Columns { here: here.to_path_buf(), threshold: Level::Debug, describes_jobs: true };
    fuzz(&corpus, |input| {
        let event = match serde_json::from_slice(input) {
            Ok(Answer::Status(status)) => {
                let lines = status_page::lines(&status, here, NOW, &out);
                assert!(lines.iter().any(|line| line.contains("jobs")), "{lines:?}");
                return;
            }
            Ok(Answer::Serving(serving)) => Event::GenerationServing(*serving),
            Ok(Answer::Canary { canary, jobs, serving }) => {
                Event::CanaryBegun { canary: *canary, jobs, serving }
            }
            Ok(Answer::RolledBack { from, to }) => {
                Event::RolledBack { from, to, cause: RollBackCause::Requested }
            }
            Ok(Answer::Broken(broken)) => Event::GenerationBroken(*broken),
            Ok(Answer::Error(_)) | Err(_) => return,
        };
        assert!(columns.record(&event).is_some(), "nothing is said of {event:?}");
    });
}
