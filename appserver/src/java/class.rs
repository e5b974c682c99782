//! Class descriptions: what a stream says of a class, and those of the JDK's own classes.

use std::sync::LazyLock;

use super::tag;
use super::text::JavaText;

/// `SC_WRITE_METHOD`: the fields are followed by what the class's `writeObject` wrote.
pub(super) const WRITE_METHOD: u8 = 1;
/// `SC_SERIALIZABLE`.
pub(super) const SERIALIZABLE: u8 = 2;
/// `SC_EXTERNALIZABLE`.
pub(super) const EXTERNALIZABLE: u8 = 4;
/// `SC_BLOCK_DATA`: what an externalizable class wrote can be read without the class.
pub(super) const BLOCK_DATA: u8 = 8;
/// `SC_ENUM`.
pub(super) const ENUM: u8 = 16;

/// A class description in a [`Heap`](super::Heap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassRef(pub(super) u32);

/// What a stream says of a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassDesc {
    /// Its name, such as `java.lang.Integer` or, for arrays, `[Ljava.lang.String;`.
    pub name: JavaText,
    /// `serialVersionUID`.
    pub serial_version: u64,
    /// The `SC_…` flags of the specification.
    pub flags: u8,
    /// The fields of this class alone: first the primitive ones, then the references.
    pub fields: Box<[Field]>,
    /// The nearest serializable class that it descends from.
    pub parent: Option<ClassRef>,
}

/// A field of a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// Letter of the type: one of `BCDFIJSZ`, `L` or `[`.
    pub kind: u8,
    /// Its name.
    pub name: JavaText,
    /// The type of a reference, such as `Ljava/lang/String;`.
    pub signature: Option<JavaText>,
}

impl ClassDesc {
    /// How many bytes the primitive fields of this class take.
    pub(super) fn primitive_bytes(&self) -> usize {
        let widths = self.fields.iter().filter_map(|f| width(f.kind));
        widths.sum()
    }

    /// How many of the fields of this class are references.
    pub(super) fn references(&self) -> usize {
        self.fields.iter().filter(|f| f.signature.is_some()).count()
    }

    /// Whether objects of this class end with data of their own, up to an end mark.
    pub(super) fn has_contents(&self) -> bool {
        self.flags & (WRITE_METHOD | EXTERNALIZABLE) != 0
    }

    /// The letter of an array's elements; `None` when it is no array.
    pub(super) fn element(&self) -> Option<u8> {
        match self.name.as_modified_utf8() {
            [b'[', kind, ..] => Some(*kind),
            _ => None,
        }
    }
}

/// Bytes of a primitive type; `None` for a reference.
pub(super) fn width(kind: u8) -> Option<usize> {
    match kind {
        b'B' | b'Z' => Some(1),
        b'C' | b'S' => Some(2),
        b'I' | b'F' => Some(4),
        b'J' | b'D' => Some(8),
        _ => None,
    }
}

macro_rules! known {
    ($($name:ident $java:literal $serial:literal $flags:literal [$(($kind:literal $field:literal $signature:literal))*] $parent:expr,)*) => {
        /// The JDK's classes whose objects this crate understands, as the JDK describes them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Known {
            $(#[doc = concat!("`", $java, "`")] $name,)*
        }

        impl Known {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in Java.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $java,)* }
            }

            /// The description but for the number of its parent, which is told beside it.
            fn make(self) -> (ClassDesc, Option<Self>) {
                match self {
                    $(Self::$name => (
                        ClassDesc {
                            name: JavaText::new($java),
                            serial_version: $serial,
                            flags: $flags,
                            fields: Box::new([$(Field {
                                kind: $kind,
                                name: JavaText::new($field),
                                signature: width($kind).is_none().then(|| JavaText::new($signature)),
                            },)*]),
                            parent: None,
                        },
                        $parent,
                    ),)*
                }
            }
        }
    };
}

known! {
    Number "java.lang.Number" 0x86AC_951D_0B94_E08B 2 [] None,
    Integer "java.lang.Integer" 0x12E2_A0A4_F781_8738 2 [(b'I' "value" "")] Some(Known::Number),
    Long "java.lang.Long" 0x3B8B_E490_CC8F_23DF 2 [(b'J' "value" "")] Some(Known::Number),
    Double "java.lang.Double" 0x80B3_C24A_296B_FB04 2 [(b'D' "value" "")] Some(Known::Number),
    Float "java.lang.Float" 0xDAED_C9A2_DB3C_F0EC 2 [(b'F' "value" "")] Some(Known::Number),
    Short "java.lang.Short" 0x684D_3713_3460_DA52 2 [(b'S' "value" "")] Some(Known::Number),
    Byte "java.lang.Byte" 0x9C4E_6084_EE50_F51C 2 [(b'B' "value" "")] Some(Known::Number),
    Boolean "java.lang.Boolean" 0xCD20_7280_D59C_FAEE 2 [(b'Z' "value" "")] None,
    Character "java.lang.Character" 0x348B_47D9_6B1A_2678 2 [(b'C' "value" "")] None,
    Date "java.util.Date" 0x686A_8101_4B59_7419 3 [] None,
    Bytes "[B" 0xACF3_17F8_0608_54E0 2 [] None,
    Booleans "[Z" 0x578F_2039_14B8_5DE2 2 [] None,
    Characters "[C" 0xB026_66B0_E25D_84AC 2 [] None,
    Shorts "[S" 0xEF83_2E06_E55D_B0FA 2 [] None,
    Integers "[I" 0x4DBA_6026_76EA_B2A5 2 [] None,
    Longs "[J" 0x7820_04B5_12B1_7593 2 [] None,
    Floats "[F" 0x0B9C_8189_22E0_0C42 2 [] None,
    Doubles "[D" 0x3EA6_8C14_AB63_5A1E 2 [] None,
    Strings "[Ljava.lang.String;" 0xADD2_56E7_E91D_7B47 2 [] None,
    Objects "[Ljava.lang.Object;" 0x90CE_589F_1073_296C 2 [] None,
    ArrayList "java.util.ArrayList" 0x7881_D21D_99C7_619D 3 [(b'I' "size" "")] None,
    LinkedList "java.util.LinkedList" 0x0C29_535D_4A60_8822 3 [] None,
    HashMap "java.util.HashMap" 0x0507_DAC1_C316_60D1 3 [(b'F' "loadFactor" "") (b'I' "threshold" "")] None,
    LinkedHashMap "java.util.LinkedHashMap" 0x34C0_4E5C_106C_C0FB 2 [(b'Z' "accessOrder" "")] Some(Known::HashMap),
    TreeMap "java.util.TreeMap" 0x0CC1_F63E_2D25_6AE6 3 [(b'L' "comparator" "Ljava/util/Comparator;")] None,
    HashSet "java.util.HashSet" 0xBA44_8595_96B8_B734 3 [] None,
    LinkedHashSet "java.util.LinkedHashSet" 0xD86C_D75A_95DD_2A1E 2 [] Some(Known::HashSet),
    TreeSet "java.util.TreeSet" 0xDD98_5093_95ED_875B 3 [] None,
}

/// The known classes in the order of [`Known::ALL`]: they have these numbers in every heap.
static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |known: &Known| {
        let (mut desc, parent) = known.make();
        desc.parent = parent.map(ClassRef::from);
        Entry {
            encoded: encoded(&desc),
            desc,
        }
    };
    Known::ALL.iter().map(entry).collect()
});

struct Entry {
    desc: ClassDesc,
    /// What a stream has between the mark of a description and its parent; `None` with references among the fields, whose
    /// types depend on what came before.
    encoded: Option<Vec<u8>>,
}

impl From<Known> for ClassRef {
    fn from(known: Known) -> Self {
        Self(known as u32)
    }
}

impl Known {
    /// The JDK's description.
    pub(super) fn desc(self) -> &'static ClassDesc {
        &TABLE[self as usize].desc
    }

    /// The same as bytes, from the name to the end mark, where they are the same in every stream.
    pub(super) fn encoded(self) -> Option<&'static [u8]> {
        TABLE[self as usize].encoded.as_deref()
    }

    /// The class of that name.
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        let known = Self::ALL
            .iter()
            .find(|known| known.name().as_bytes() == name);
        known.copied()
    }

    /// The class whose encoded description these bytes begin with.
    pub(super) fn described(bytes: &[u8]) -> Option<(Self, &'static [u8])> {
        let (len, rest) = bytes.split_first_chunk()?;
        let name = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let known = Self::of_name(name)?;
        let encoded = known
            .encoded()
            .filter(|encoded| bytes.starts_with(encoded))?;
        Some((known, encoded))
    }
}

fn encoded(desc: &ClassDesc) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &JavaText| {
        bytes.extend((text.as_modified_utf8().len() as u16).to_be_bytes());
        bytes.extend_from_slice(text.as_modified_utf8());
    };
    text(&mut bytes, &desc.name);
    bytes.extend(desc.serial_version.to_be_bytes());
    bytes.push(desc.flags);
    bytes.extend((desc.fields.len() as u16).to_be_bytes());
    for field in &desc.fields {
        if field.signature.is_some() {
            return None;
        }
        bytes.push(field.kind);
        text(&mut bytes, &field.name);
    }
    bytes.push(tag::END);
    Some(bytes)
}
