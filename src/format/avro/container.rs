//! Container files: a header with the schema, and blocks of records that are compressed one by one.
//!
//! ```text
//! file  = "Obj\x01" metadata sync block*
//! block = records | bytes | the records, packed | sync        numbers as Input::long reads them, sync is 16 bytes
//! ```

use std::fmt;
use std::io::{Read, Write};

use bzip2::read::{BzDecoder, BzEncoder};
use flate2::Crc;
use flate2::read::{DeflateDecoder, DeflateEncoder};

use super::damaged;
use super::input::{Input, put_bytes, put_long};
use super::schema::Schema;
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"Obj\x01";
/// The longest header, or block before and after it is unpacked, that is believed.
const MAX_BYTES: u64 = 1 << 30;

/// How blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Deflate,
    Snappy,
    Bzip2,
    Zstandard,
}

impl Compression {
    const ALL: [Self; 5] = [Self::None, Self::Deflate, Self::Snappy, Self::Bzip2, Self::Zstandard];

    /// As the header writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Bzip2 => "bzip2",
            Self::Zstandard => "zstandard",
        }
    }

    fn unpack(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let all = |reader: &mut dyn Read| {
            let mut out = vec![];
            let read = reader.take(MAX_BYTES + 1).read_to_end(&mut out).map_err(|e| self.wrong(&e))?;
            if read as u64 > MAX_BYTES { Err(self.wrong(&"a block that is too long")) } else { Ok(out) }
        };
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Deflate => all(&mut DeflateDecoder::new(bytes)),
            Self::Bzip2 => all(&mut BzDecoder::new(bytes)),
            Self::Zstandard => all(&mut zstd::stream::read::Decoder::new(bytes).map_err(|e| self.wrong(&e))?),
            Self::Snappy => self.snappy(bytes),
        }
    }

    /// Snappy's own format, and a checksum of what was packed.
    fn snappy(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let (packed, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| self.wrong(&"no checksum"))?;
        let len = snap::raw::decompress_len(packed).map_err(|e| self.wrong(&e))?;
        if len as u64 > MAX_BYTES {
            return Err(self.wrong(&"a block that is too long"));
        }
        let out = snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| self.wrong(&e))?;
        if checksum(&out) != *sum { Err(self.wrong(&"another checksum")) } else { Ok(out) }
    }

    fn wrong(self, what: &dyn fmt::Display) -> Error {
        damaged(format!("a block cannot be unpacked as {}: {what}", self.name()))
    }

    fn pack(self, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let all = |reader: &mut dyn Read| {
            let mut out = vec![];
            reader.read_to_end(&mut out).map(|_| out)
        };
        match self {
            Self::None => Ok(bytes),
            Self::Deflate => all(&mut DeflateEncoder::new(&bytes[..], flate2::Compression::default())),
            Self::Bzip2 => all(&mut BzEncoder::new(&bytes[..], bzip2::Compression::default())),
            Self::Zstandard => zstd::encode_all(&bytes[..], zstd::DEFAULT_COMPRESSION_LEVEL),
            Self::Snappy => {
                let mut out = snap::raw::Encoder::new().compress_vec(&bytes).map_err(std::io::Error::other)?;
                out.extend_from_slice(&checksum(&bytes));
                Ok(out)
            }
        }
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

/// A container file that is being read.
pub struct Container<R> {
    source: Source<R>,
    schema: Schema,
    metadata: Vec<(String, Vec<u8>)>,
    compression: Compression,
    sync: [u8; 16],
    /// Unpacked records of the block, of which `left` begin at `pos`.
    block: Vec<u8>,
    pos: usize,
    left: u64,
}

impl<R: Read> Container<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Bytes that are no Avro file, and codecs that are not read.
    pub fn open(reader: R) -> Result<Self> {
        let mut source = Source { reader };
        if source.bytes(MAGIC.len() as u64)? != MAGIC {
            return Err(damaged("it does not begin as Avro files do"));
        }
        let mut metadata = vec![];
        loop {
            let count = source.number()?.ok_or_else(|| damaged("its header ends early"))?;
            if count == 0 {
                break;
            }
            if count < 0 {
                source.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = source.counted()?;
                metadata.push((String::from_utf8_lossy(&key).into_owned(), source.counted()?));
            }
        }
        let sync = source.bytes(16)?.try_into().map_err(|_| damaged("its header ends early"))?;
        let value = |key: &str| metadata.iter().find(|(k, _)| k == key).map(|(_, v)| String::from_utf8_lossy(v));
        let json = value("avro.schema").ok_or_else(|| damaged("it has no schema"))?;
        let schema = Schema::parse(&json).map_err(|e| damaged(e.message()))?;
        let codec = value("avro.codec").unwrap_or("null".into());
        let compression = Compression::ALL.into_iter().find(|c| c.name() == codec);
        let compression = compression.ok_or_else(|| {
            Error::execution("UNSUPPORTED_FEATURE", format!("the Avro file is packed by '{codec}', which is not read"))
                .with_help("write it with null, deflate, snappy, bzip2 or zstandard")
        })?;
        Ok(Self { source, schema, metadata, compression, sync, block: vec![], pos: 0, left: 0 })
    }

    /// What the records were written with.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A value of the header.
    pub fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }

    /// How many records the block has that were not decoded yet; 0 at the end of the file.
    ///
    /// # Errors
    /// A file that ends early or is damaged.
    pub fn records(&mut self) -> Result<u64> {
        while self.left == 0 {
            if self.pos < self.block.len() {
                return Err(damaged("a block has more bytes than its records"));
            }
            let Some(records) = self.source.number()? else { return Ok(0) };
            self.left = u64::try_from(records).map_err(|_| damaged(format!("a block of {records} records")))?;
            let packed = self.source.counted()?;
            if self.source.bytes(16)? != self.sync {
                return Err(damaged("a block does not end as it should"));
            }
            self.block = self.compression.unpack(&packed)?;
            self.pos = 0;
        }
        Ok(self.left)
    }

    /// Calls `decode` for so many records of the block.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn decode(&mut self, records: usize, mut decode: impl FnMut(&mut Input<'_>) -> Result<()>) -> Result<()> {
        let mut input = Input(&self.block[self.pos..]);
        let decoded = (0..records).try_for_each(|_| decode(&mut input));
        self.pos = self.block.len() - input.0.len();
        self.left = self.left.saturating_sub(records as u64);
        decoded
    }
}

struct Source<R> {
    reader: R,
}

impl<R: Read> Source<R> {
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_BYTES {
            return Err(damaged(format!("a length of {len} bytes")));
        }
        let mut bytes = vec![];
        // What a damaged length asks for is not taken from memory before it is there.
        let read = (&mut self.reader).take(len).read_to_end(&mut bytes).map_err(|e| damaged(&e).with_io_source(&e))?;
        if (read as u64) < len { Err(damaged("it ends early")) } else { Ok(bytes) }
    }

    /// Bytes behind their length.
    fn counted(&mut self) -> Result<Vec<u8>> {
        let len = self.number()?.ok_or_else(|| damaged("it ends early"))?;
        self.bytes(u64::try_from(len).map_err(|_| damaged(format!("a length of {len} bytes")))?)
    }

    /// A number; `None` where the file ends.
    fn number(&mut self) -> Result<Option<i64>> {
        let mut bytes = vec![];
        loop {
            let mut byte = [0];
            let read = self.reader.read(&mut byte).map_err(|e| damaged(&e).with_io_source(&e))?;
            if read == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(damaged("it ends early")) };
            }
            bytes.push(byte[0]);
            if byte[0] & 0x80 == 0 || bytes.len() > 10 {
                return Input(&bytes).long().map(Some);
            }
        }
    }
}

/// A container file that is being written.
#[derive(Debug)]
pub struct ContainerWriter<W> {
    out: W,
    compression: Compression,
    sync: [u8; 16],
}

impl<W: Write> ContainerWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// A write that fails.
    pub fn start(mut out: W, schema: &str, compression: Compression) -> std::io::Result<Self> {
        let sync = *uuid::Uuid::new_v4().as_bytes();
        let mut header = MAGIC.to_vec();
        put_long(&mut header, 2);
        for (key, value) in [("avro.schema", schema), ("avro.codec", compression.name())] {
            put_bytes(&mut header, key.as_bytes());
            put_bytes(&mut header, value.as_bytes());
        }
        put_long(&mut header, 0);
        header.extend_from_slice(&sync);
        out.write_all(&header)?;
        Ok(Self { out, compression, sync })
    }

    /// Writes a block.
    ///
    /// # Errors
    /// A write that fails.
    pub fn block(&mut self, records: u64, bytes: Vec<u8>) -> std::io::Result<()> {
        let packed = self.compression.pack(bytes)?;
        let mut block = vec![];
        put_long(&mut block, records as i64);
        put_bytes(&mut block, &packed);
        block.extend_from_slice(&self.sync);
        self.out.write_all(&block)
    }

    /// What it was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}
