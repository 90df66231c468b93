//! What the Python side inflates and reads, in every shape.

use std::path::Path;
use std::process::Command;

#[test]
fn payloads_and_frames_in_python() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(embedded::testing::python())
        .arg(crates.join("freshq/tests/it/fuzz.py"))
        .arg(crates.join("supervisor"))
        .output()
        .expect("Python starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}
