//! The example application under load: real extraction jobs end exactly once each.

use std::path::Path;

use serde_json::{Value, json};

use crate::context::Context;

/// How often each of the three documents is enqueued.
const TIMES: usize = 34;
const WARM_UP: &str = "casestrainer.tasks:warm_up";

fn copy_folder(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).expect("a folder");
    for entry in fs_err::read_dir(from).expect("the example is there") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs_err::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

#[test]
fn a_hundred_extractions_end_exactly_once_each() {
    let context = Context::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/casestrainer");
    for folder in ["casestrainer", "documents"] {
        copy_folder(&example.join(folder), &context.path(folder));
    }
    let call = "[enqueue('casestrainer.tasks.extract', d) for d in ['brief', 'opinion', 'order']]";
    let mut ids = Vec::new();
    for _ in 0..TIMES {
        ids.extend(context.eval(call).as_array().expect("a list").clone());
    }
    let args = ["--burst", "--num-workers", "2", "--watch", "casestrainer", "--warmup", WARM_UP];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(output.matches("  done ").count(), 3 * TIMES, "{output}");
    let first = summary(&context, &ids[..3]);
    assert_eq!(first, json!([[36, 20], [34, 19], [38, 19]]), "citations and paragraphs");
    for three in ids.chunks(3) {
        assert_eq!(summary(&context, three), first, "the same document, the same citations");
    }
}

/// Citations found, and paragraphs done as the job reported in its meta.
fn summary(context: &Context, ids: &[Value]) -> Value {
    let ids = Value::from(ids.to_vec());
    context
        .eval(&format!("[[len(job(i).return_value()), job(i).get_meta()['done']] for i in {ids}]"))
}
