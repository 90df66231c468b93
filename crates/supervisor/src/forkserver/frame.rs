//! Frames between the supervisor and Python; twin of `python/freshq_runtime/frames.py`,
//! which describes the format.
//!
//! Bounded: a length that no honest peer would send is an error before anything is
//! allocated for it.

use serde::Serialize;

/// Version of the format; both sides must agree, and always do, since one binary carries both.
pub const VERSION: u8 = 1;
/// Longest frame that is sent or accepted: a job's data or value beyond this cannot be run.
pub const FRAME_BYTES_MAX: usize = 512 * 1024 * 1024;
const LEAD_BYTES: usize = 9;
const LEAD_TAIL_BYTES: usize = LEAD_BYTES - 4;

/// One decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// JSON text of the header.
    pub header: Vec<u8>,
    /// Raw bytes, whose meaning the header gives.
    pub body: Vec<u8>,
}

/// Why a frame cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks another version.
    #[error("a frame of version {0} came, this side speaks version {VERSION}")]
    Version(u8),
    /// The lengths contradict each other or exceed the limit.
    #[error("a frame of {length} bytes with a header of {header} bytes is not acceptable")]
    Length {
        /// Length the frame claims for all that follows the length itself.
        length: usize,
        /// Length it claims for its header.
        header: usize,
    },
}

/// Encodes a message.
pub fn encode(header: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let header = serde_json::to_vec(header).unwrap_or_default();
    let length = LEAD_TAIL_BYTES + header.len() + body.len();
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::Length { length, header: header.len() });
    }
    let mut out = Vec::with_capacity(4 + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.push(VERSION);
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(body);
    Ok(out)
}

/// Collects bytes as they come and gives out whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Where to append what was read.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The next whole frame, if its last byte has come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(lead) = self.buffer.first_chunk::<LEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes([lead[0], lead[1], lead[2], lead[3]]) as usize;
        let header = u32::from_le_bytes([lead[5], lead[6], lead[7], lead[8]]) as usize;
        if lead[4] != VERSION {
            return Err(FrameError::Version(lead[4]));
        }
        if length > FRAME_BYTES_MAX || length < LEAD_TAIL_BYTES + header {
            return Err(FrameError::Length { length, header });
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(4 + length);
        let frame = std::mem::replace(&mut self.buffer, rest);
        let (header, body) = frame[LEAD_BYTES..].split_at(header);
        Ok(Some(Frame { header: header.to_vec(), body: body.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_any_cut() {
        let bytes = encode(&serde_json::json!({"kind": "x"}), b"\0body").unwrap();
        let twice = [bytes.clone(), bytes].concat();
        for cut in 0..twice.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for part in [&twice[..cut], &twice[cut..]] {
                decoder.buffer().extend_from_slice(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert_eq!(frames[0], frames[1]);
            assert_eq!(frames[0].body, b"\0body");
        }
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_allocated() {
        for lead in [
            [0xff, 0xff, 0xff, 0xff, VERSION, 0, 0, 0, 0],
            [9, 0, 0, 0, VERSION, 200, 0, 0, 0],
            [9, 0, 0, 0, VERSION + 1, 0, 0, 0, 0],
            [0, 0, 0, 0, VERSION, 0, 0, 0, 0],
        ] {
            let mut decoder = Decoder::default();
            decoder.buffer().extend_from_slice(&lead);
            assert!(decoder.next_frame().is_err(), "{lead:?}");
        }
    }
}
