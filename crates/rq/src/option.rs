//! Values of options as redis-py reads them, from a URL (text) or from Python (any type).

use serde_json::Value;

/// The value as text; none for what counts as not given.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether the value says yes.
pub(crate) fn truth(value: &Value) -> bool {
    text(value).is_some_and(|text| {
        !matches!(text.to_ascii_lowercase().as_str(), "0" | "f" | "false" | "n" | "no")
    })
}
