//! Tells a consumer group where the query stands, so that tools that look at groups see its lag. Nothing is ever read from there.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::Offset as ListedOffset;

use super::offsets::Offsets;
use crate::error::Result;
use crate::kafka::{Context, Settings, failed};

/// A consumer group that is told, and of which nobody is a member.
pub struct Group(BaseConsumer<Context>);

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Group")
    }
}

impl Group {
    /// The group of this name.
    ///
    /// # Errors
    /// Settings that do not fit each other.
    pub fn new(settings: &Settings, name: String) -> Result<Self> {
        let mut config = settings.with_defaults(&[("enable.auto.commit", "false")]);
        config.set("group.id", name);
        let consumer = config.create_with_context(Context::default());
        consumer.map(Self).map_err(|e| failed("no client can be made", settings.servers(), &e))
    }

    /// Commits; `is_last` waits for the answer. What fails is said and forgotten: the next commit says more.
    pub fn commit(&self, offsets: &Offsets, is_last: bool) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets.iter() {
            if let Err(e) = list.add_partition_offset(&partition.topic, partition.number, ListedOffset::Offset(offset))
            {
                tracing::debug!("kafka: {partition}: {e}");
            }
        }
        // Events of the client are served here.
        drop(self.0.poll(std::time::Duration::ZERO));
        if list.count() == 0 {
            return;
        }
        let mode = if is_last { CommitMode::Sync } else { CommitMode::Async };
        if let Err(e) = self.0.commit(&list, mode) {
            tracing::debug!("kafka: committing to the consumer group: {e}");
        }
    }
}
