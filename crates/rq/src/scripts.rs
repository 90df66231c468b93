//! The Lua scripts, put together from their parts.

/// A script: what all share, then the named parts; the last one is the entry.
macro_rules! script {
    ($($part:literal),+) => {
        redis::Script::new(concat!(
            include_str!("scripts/keys.lua"),
            include_str!("scripts/common.lua"),
            $(include_str!(concat!("scripts/", $part, ".lua")),)+
        ))
    };
}

pub(crate) use script;
