//! A file that is written as it is or compressed.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use bzip2::write::BzEncoder;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::format::compression::{Codec, HadoopBlockWriter};

/// Where bytes go that become a file.
pub enum Output {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Deflate(ZlibEncoder<BufWriter<File>>),
    Bzip2(BzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
    Blocks(HadoopBlockWriter<BufWriter<File>>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// An empty file.
    pub fn new(file: File, codec: Option<Codec>) -> io::Result<Self> {
        let file = BufWriter::new(file);
        Ok(match codec {
            None => Self::Plain(file),
            Some(Codec::Gzip) => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Some(Codec::Deflate) => Self::Deflate(ZlibEncoder::new(file, flate2::Compression::default())),
            Some(Codec::Bzip2) => Self::Bzip2(BzEncoder::new(file, bzip2::Compression::default())),
            Some(Codec::Zstd) => Self::Zstd(zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Some(codec @ (Codec::Lz4 | Codec::Snappy)) => Self::Blocks(HadoopBlockWriter::new(file, codec)),
        })
    }

    /// Writes what is still to be written; the file is not synced yet.
    pub fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(out) => out.finish()?,
            Self::Deflate(out) => out.finish()?,
            Self::Bzip2(out) => out.finish()?,
            Self::Zstd(out) => out.finish()?,
            Self::Blocks(out) => out.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Deflate(out) => out.write(bytes),
            Self::Bzip2(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
            Self::Blocks(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Deflate(out) => out.flush(),
            Self::Bzip2(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
            Self::Blocks(out) => out.flush(),
        }
    }
}
