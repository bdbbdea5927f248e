//! How large an item is, without making one: the bytes that DynamoDB charges for (its developer guide, 'item sizes and
//! formats'), or a few more.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The size of a value in storage, in bytes. Never less than the real one, and a few percent more.
#[must_use]
pub fn size_bytes(value: &impl Serialize) -> usize {
    let mut count = Count(0);
    // Counting cannot fail, and what is stored can be written.
    drop(value.serialize(&mut Serializer::with_formatter(&mut count, AsStored)));
    count.0
}

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes as many bytes as DynamoDB counts: texts and names as they are, three for a list or map and one for each element.
/// Numbers count about half their digits there, and all of them here.
struct AsStored;

fn one<W: ?Sized + Write>(writer: &mut W) -> io::Result<()> {
    writer.write_all(b"1")
}

impl Formatter for AsStored {
    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, bytes: &[u8]) -> io::Result<()> {
        writer.write_all(bytes)
    }
    fn write_bool<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        one(writer)
    }
    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }
    fn end_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"[ ]")
    }
    fn end_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        // A number of one digit has two bytes.
        writer.write_all(b", ")
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"{ }")
    }
    fn end_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        one(writer)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        one(writer)
    }
}
