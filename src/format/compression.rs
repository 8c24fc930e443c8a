//! Compressed files: which codec a name stands for, and the bytes behind it.

use std::fmt;
use std::io::{self, Read, Write};

use bzip2::read::MultiBzDecoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// How the bytes of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `.gz`, also of several members.
    Gzip,
    /// `.zst`
    Zstd,
    /// `.bz2`
    Bzip2,
    /// `.deflate`: zlib, as Hadoop writes it.
    Deflate,
    /// `.lz4` in the blocks that Hadoop writes.
    Lz4,
    /// `.snappy` in the blocks that Hadoop writes.
    Snappy,
}

impl Codec {
    /// All of them.
    const ALL: [Self; 6] = [Self::Gzip, Self::Zstd, Self::Bzip2, Self::Deflate, Self::Lz4, Self::Snappy];

    /// What names of files end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Bzip2 => "bz2",
            Self::Deflate => "deflate",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }

    /// The codec of a file of this extension. Case counts, as in Spark.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.extension() == extension)
    }

    /// The codec of this name, in lower case, as options write it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.to_string() == name)
    }

    /// The names of all codecs.
    pub fn names() -> String {
        Self::ALL.map(|codec| codec.to_string()).join(", ")
    }

    /// The bytes that `compressed` stands for.
    ///
    /// # Errors
    /// Reading gives the errors of damaged bytes.
    pub fn decoder(self, compressed: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(compressed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(compressed)?),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(compressed)),
            Self::Deflate => Box::new(ZlibDecoder::new(compressed)),
            Self::Lz4 => Box::new(HadoopBlocks::new(compressed, |block, len| {
                lz4_flex::block::decompress(block, len).map_err(io::Error::other)
            })),
            Self::Snappy => Box::new(HadoopBlocks::new(compressed, |block, _| {
                snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)
            })),
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Deflate => "deflate",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        })
    }
}

/// The longest block that is believed: a length is read before its bytes are.
const MAX_BLOCK: u32 = 256 << 20;

/// Hadoop's frame around codecs that know blocks only: the length of a block as it will be, and until it is reached the length of a
/// compressed piece and the piece; lengths have four bytes, the highest first.
struct HadoopBlocks<F> {
    compressed: Box<dyn Read + Send>,
    decompress: F,
    /// What of the current block is still to come.
    missing: u32,
    piece: Vec<u8>,
    pos: usize,
}

impl<F: Fn(&[u8], usize) -> io::Result<Vec<u8>>> HadoopBlocks<F> {
    fn new(compressed: Box<dyn Read + Send>, decompress: F) -> Self {
        Self { compressed, decompress, missing: 0, piece: vec![], pos: 0 }
    }

    /// A length; `None` where the file ends.
    fn length(&mut self) -> io::Result<Option<u32>> {
        let (mut bytes, mut have) = ([0; 4], 0);
        while have < bytes.len() {
            match self.compressed.read(&mut bytes[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        let length = u32::from_be_bytes(bytes);
        if length > MAX_BLOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block is longer than any that is written"));
        }
        Ok(Some(length))
    }

    /// The next piece; `false` at the end.
    fn next_piece(&mut self) -> io::Result<bool> {
        while self.missing == 0 {
            let Some(length) = self.length()? else { return Ok(false) };
            self.missing = length;
        }
        let length = self.length()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut block = vec![];
        (&mut self.compressed).take(u64::from(length)).read_to_end(&mut block)?;
        if block.len() < length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.piece = (self.decompress)(&block, self.missing as usize)?;
        self.pos = 0;
        let got = u32::try_from(self.piece.len()).unwrap_or(u32::MAX);
        self.missing = self.missing.checked_sub(got).filter(|_| got > 0).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "a block does not have the length that it should have")
        })?;
        Ok(true)
    }
}

impl<F: Fn(&[u8], usize) -> io::Result<Vec<u8>>> Read for HadoopBlocks<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.pos == self.piece.len() && !self.next_piece()? {
            return Ok(0);
        }
        let n = into.len().min(self.piece.len() - self.pos);
        into[..n].copy_from_slice(&self.piece[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

/// Bytes of a block as it is written.
const BLOCK: usize = 256 << 10;

/// Writes such frames.
pub struct HadoopBlockWriter<W> {
    out: W,
    codec: Codec,
    block: Vec<u8>,
}

impl<W: Write> HadoopBlockWriter<W> {
    /// Frames of `codec`, which is lz4 or snappy.
    pub fn new(out: W, codec: Codec) -> Self {
        Self { out, codec, block: Vec::with_capacity(BLOCK) }
    }

    /// Writes the last block.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = match self.codec {
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(&self.block).map_err(io::Error::other)?,
            _ => lz4_flex::block::compress(&self.block),
        };
        for length in [self.block.len(), compressed.len()] {
            self.out.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes())?;
        }
        self.out.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for HadoopBlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_block()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn decoded(codec: Codec, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = vec![];
        codec.decoder(Box::new(io::Cursor::new(bytes)))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn several_members_and_frames_are_one_file() {
        let gzip = |text: &str| {
            let mut e = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
            e.write_all(text.as_bytes()).unwrap();
            e.finish().unwrap()
        };
        assert_eq!(decoded(Codec::Gzip, [gzip("a\n"), gzip("b\n")].concat()).unwrap(), b"a\nb\n");
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 0).unwrap();
        assert_eq!(decoded(Codec::Zstd, [zstd("a\n"), zstd("b\n")].concat()).unwrap(), b"a\nb\n");
        assert!(decoded(Codec::Gzip, gzip("damaged")[..12].to_vec()).is_err());
    }

    #[test]
    fn blocks_as_hadoop_writes_them() {
        let be = |n: usize| (n as u32).to_be_bytes().to_vec();
        let texts = ["first block ".repeat(20), "x".repeat(1000)];
        let lz4 = |text: &String| lz4_flex::block::compress(text.as_bytes());
        let snappy = |text: &String| snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap();
        for (codec, compress) in [(Codec::Lz4, &lz4 as &dyn Fn(&String) -> Vec<u8>), (Codec::Snappy, &snappy)] {
            let framed: Vec<u8> =
                texts.iter().flat_map(|t| [be(t.len()), be(compress(t).len()), compress(t)].concat()).collect();
            assert_eq!(decoded(codec, framed.clone()).unwrap(), texts.concat().as_bytes());
            for len in [3, 6, framed.len() - 1] {
                assert!(decoded(codec, framed[..len].to_vec()).is_err(), "{codec} cut at {len}");
            }
            assert!(decoded(codec, vec![0xff; 64]).is_err());
            let long = "0123456789".repeat(100_000);
            let mut out = HadoopBlockWriter::new(vec![], codec);
            out.write_all(long.as_bytes()).unwrap();
            assert_eq!(decoded(codec, out.finish().unwrap()).unwrap(), long.as_bytes());
        }
    }
}
