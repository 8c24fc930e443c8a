//! Positions in topics, as Spark writes them: `{"orders":{"0":23,"1":7}}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::kafka::Partition;
use crate::offset::Offset;

/// The name under which a topic's entry holds its id: only that of a topic which was made anew while the query lived.
const ID: &str = "topicId";

/// For each partition the offset of the next record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(pub BTreeMap<Arc<str>, TopicOffsets>);

/// The positions in one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Which topic of this name it is, if it is not the first that the query has read.
    pub id: Option<String>,
    /// By the number of the partition.
    pub partitions: BTreeMap<i32, i64>,
}

impl Offsets {
    /// Reads what [`Offsets::to_json`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_json(offset: &Offset) -> Result<Self> {
        Self::read(offset)
            .ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' are no offsets of a Kafka source")))
    }

    fn read(value: &Value) -> Option<Self> {
        let mut topics = BTreeMap::new();
        for (name, entry) in value.as_object()? {
            let mut topic = TopicOffsets::default();
            for (key, value) in entry.as_object()? {
                match key.as_str() {
                    ID => topic.id = Some(value.as_str()?.to_owned()),
                    number => drop(topic.partitions.insert(number.parse().ok()?, value.as_i64()?)),
                }
            }
            topics.insert(Arc::from(name.as_str()), topic);
        }
        Some(Self(topics))
    }

    /// Reads an option: offsets or times by topic and partition. `None` if it has another shape.
    pub fn from_option(text: &str) -> Option<Self> {
        let offsets = Self::read(&serde_json::from_str(text).ok()?)?;
        (offsets.0.values().all(|topic| topic.id.is_none())).then_some(offsets)
    }

    /// As the checkpoint and the progress have it.
    pub fn to_json(&self) -> Offset {
        let topics = self.0.iter().map(|(name, topic)| {
            let numbers = topic.partitions.iter().map(|(number, offset)| (number.to_string(), Value::from(*offset)));
            let id = topic.id.iter().map(|id| (ID.to_owned(), Value::from(id.as_str())));
            (name.to_string(), Value::Object(numbers.chain(id).collect()))
        });
        Value::Object(topics.collect::<Map<_, _>>())
    }

    /// All partitions and their offsets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.0.iter().flat_map(|(topic, offsets)| {
            let partition =
                |(number, offset): (&i32, &i64)| (Partition { topic: topic.clone(), number: *number }, *offset);
            offsets.partitions.iter().map(partition)
        })
    }

    /// The offset of a partition.
    pub fn get(&self, partition: &Partition) -> Option<i64> {
        self.0.get(&partition.topic)?.partitions.get(&partition.number).copied()
    }

    /// Sets the offset of a partition.
    pub fn set(&mut self, partition: &Partition, offset: i64) {
        self.0.entry(partition.topic.clone()).or_default().partitions.insert(partition.number, offset);
    }

    /// Where a range that begins at `self` and ends at `end` begins in a partition of the end: at 0 if the partition is new, or if its topic is
    /// another one than before.
    pub fn start_of(&self, partition: &Partition, end: &Self) -> i64 {
        let id = |offsets: &Self| offsets.0.get(&partition.topic).and_then(|topic| topic.id.clone());
        match id(self) == id(end) {
            true => self.get(partition).unwrap_or(0),
            false => 0,
        }
    }
}

impl FromIterator<(Partition, i64)> for Offsets {
    fn from_iter<T: IntoIterator<Item = (Partition, i64)>>(iter: T) -> Self {
        let mut offsets = Self::default();
        iter.into_iter().for_each(|(partition, offset)| offsets.set(&partition, offset));
        offsets
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

/// Partitions as messages name them: `orders-0, orders-1`.
pub fn names<'p>(partitions: impl IntoIterator<Item = &'p Partition>) -> String {
    partitions.into_iter().map(Partition::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_as_spark_does() {
        let text = r#"{"a":{"0":3,"10":1},"b":{"2":0}}"#;
        let offsets = Offsets::from_option(text).unwrap();
        assert_eq!(offsets.to_string(), text);
        assert_eq!(offsets.iter().map(|(p, o)| format!("{p}={o}")).collect::<Vec<_>>(), ["a-0=3", "a-10=1", "b-2=0"]);
        for wrong in
            ["3", "[]", r#"{"a":3}"#, r#"{"a":[0]}"#, r#"{"a":{"x":0}}"#, r#"{"a":{"0":"1"}}"#, r#"{"a":{"0":1"#]
        {
            assert_eq!(Offsets::from_option(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_topic_made_anew_is_read_from_its_beginning() {
        let start = Offsets::from_option(r#"{"a":{"0":3}}"#).unwrap();
        let mut end = Offsets::from_option(r#"{"a":{"0":3,"1":2}}"#).unwrap();
        let partition = |number| Partition { topic: "a".into(), number };
        assert_eq!((start.start_of(&partition(0), &end), start.start_of(&partition(1), &end)), (3, 0));
        end.0.get_mut("a").unwrap().id = Some("new".into());
        assert_eq!(start.start_of(&partition(0), &end), 0);
        assert_eq!(Offsets::from_json(&end.to_json()).unwrap(), end);
    }
}
