//! How large an item is, without making one: the bytes that DynamoDB charges for (its developer guide, 'item sizes and
//! formats').

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize};

/// The size of a value in storage, in bytes: never less than the real one, and not much more.
#[must_use]
pub fn size_bytes(value: &impl Serialize) -> usize {
    let mut size = Size(0);
    // What is stored can be written, and adding up cannot fail.
    let _never = value.serialize(&mut size);
    size.0
}

/// Bytes so far.
struct Size(usize);

impl Write for Size {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.len())
    }
}

impl Size {
    fn add(&mut self, bytes: usize) -> fmt::Result {
        self.0 += bytes;
        Ok(())
    }

    /// A number has about half its digits.
    fn number(&mut self, number: impl Display) -> fmt::Result {
        let mut digits = Self(0);
        write!(digits, "{number}")?;
        self.add(digits.0 / 2 + 2)
    }

    /// A list or map has three bytes, and one more for each element.
    fn container(&mut self) -> Result<&mut Self, fmt::Error> {
        self.add(3)?;
        Ok(self)
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> fmt::Result {
        self.add(1)?;
        value.serialize(self)
    }

    fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> fmt::Result {
        self.add(name.len())?;
        self.element(value)
    }
}

/// Methods that only add up.
macro_rules! scalars {
    ($($method:ident($of:ty) => |$size:ident, $value:pat_param| $add:expr;)*) => {
        $(fn $method(self, $value: $of) -> fmt::Result {
            let $size = self;
            $add
        })*
    };
}

/// Compounds whose parts have no names, or names that were sized before.
macro_rules! elements {
    ($($compound:ident::$method:ident),*) => {
        $(impl ser::$compound for &mut Size {
            type Ok = ();
            type Error = fmt::Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
                self.element(value)
            }
            fn end(self) -> fmt::Result {
                Ok(())
            }
        })*
    };
}

/// Compounds whose parts have names.
macro_rules! fields {
    ($($compound:ident),*) => {
        $(impl ser::$compound for &mut Size {
            type Ok = ();
            type Error = fmt::Error;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> fmt::Result {
                self.field(name, value)
            }
            fn end(self) -> fmt::Result {
                Ok(())
            }
        })*
    };
}

elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Size {
    type Ok = ();
    type Error = fmt::Error;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> fmt::Result {
        key.serialize(&mut **self)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        self.element(value)
    }
    fn end(self) -> fmt::Result {
        Ok(())
    }
}

impl ser::Serializer for &mut Size {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    scalars! {
        serialize_bool(bool) => |size, _| size.add(1);
        serialize_i8(i8) => |size, number| size.number(number);
        serialize_i16(i16) => |size, number| size.number(number);
        serialize_i32(i32) => |size, number| size.number(number);
        serialize_i64(i64) => |size, number| size.number(number);
        serialize_u8(u8) => |size, number| size.number(number);
        serialize_u16(u16) => |size, number| size.number(number);
        serialize_u32(u32) => |size, number| size.number(number);
        serialize_u64(u64) => |size, number| size.number(number);
        serialize_f32(f32) => |size, number| size.number(number);
        serialize_f64(f64) => |size, number| size.number(number);
        serialize_char(char) => |size, letter| size.add(letter.len_utf8());
        serialize_str(&str) => |size, text| size.add(text.len());
        serialize_bytes(&[u8]) => |size, bytes| size.add(bytes.len());
        serialize_unit_struct(&'static str) => |size, _| size.add(1);
    }
    fn serialize_none(self) -> fmt::Result {
        self.add(1)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        value.serialize(self)
    }
    fn serialize_unit(self) -> fmt::Result {
        self.add(1)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> fmt::Result {
        self.add(variant.len())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> fmt::Result {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.container()?.field(variant, value)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.container()
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        self.container()
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        self.container()
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.add(variant.len())?;
        self.container()?.container()
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.container()
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        self.container()
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.add(variant.len())?;
        self.container()?.container()
    }
}
