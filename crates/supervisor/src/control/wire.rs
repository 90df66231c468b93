//! How durations, paths and places stand in answers: as tools like them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserializer, Serializer};

/// Durations are numbers of milliseconds, to the nanosecond: who prints them rounds as the log does.
pub(crate) mod millis {
    use super::{Deserializer, Duration, Serializer};
    use serde::{Deserialize as _, de};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_nanos() as f64 / 1_000_000.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(millis / 1000.0).map_err(de::Error::custom)
    }
}

/// A place in a file has names for both.
pub(crate) mod place {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Place {
        file: String,
        line: Option<u32>,
    }

    #[expect(clippy::ref_option, reason = "serde hands over fields so")]
    pub(crate) fn serialize<S: Serializer>(
        place: &Option<(PathBuf, Option<u32>)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let named = place
            .as_ref()
            .map(|(file, line)| Place { file: file.display().to_string(), line: *line });
        named.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<(PathBuf, Option<u32>)>, D::Error> {
        let named = Option::<Place>::deserialize(deserializer)?;
        Ok(named.map(|place| (place.file.into(), place.line)))
    }
}

/// Paths are text, whatever their bytes.
pub(crate) fn paths<'a, S: Serializer>(
    paths: impl IntoIterator<Item = &'a PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.into_iter().map(|path| path.display().to_string()))
}
