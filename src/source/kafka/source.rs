//! One query's reader of topics: which offsets a batch ends at, and where the topics stand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use parking_lot::Mutex;

use super::group::Group;
use super::known::KnownTopics;
use super::limits::{backlog, limited};
use super::offsets::{Offsets, names};
use super::reader::Readers;
use super::rows::BadMessages;
use super::scan::{KafkaScan, Reading};
use super::{KafkaStream, partitions_of};
use crate::error::Result;
use crate::kafka::{Broker, Client, EARLIEST, LATEST, Topic, data_loss};
use crate::offset::Offset;
use crate::source::{RangeScan, ReadLimit, Source, SourceContext, SourceMetrics};

/// How often a query looks for new topics and partitions.
const TOPICS_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a query waits for a broker.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// Room of a partition for records that were fetched ahead, at least.
const MIN_PREFETCH_KBYTES: u64 = 64;

/// See the module.
pub struct KafkaSource {
    stream: KafkaStream,
    reading: Arc<Reading>,
    broker: Broker,
    readers: Arc<Readers>,
    bad: Arc<BadMessages>,
    group: Mutex<Option<Group>>,
    state: tokio::sync::Mutex<State>,
    figures: Mutex<Figures>,
    /// For records that are fetched ahead.
    _memory: MemoryReservation,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    known: KnownTopics,
    topics: BTreeMap<Arc<str>, Topic>,
    looked_at: Instant,
    /// Where `TRIGGER AVAILABLE NOW` ends.
    available: Option<Offsets>,
    /// When a batch ended last; none has in this run if there is nothing.
    last_batch: Option<Instant>,
    /// The end of that batch.
    position: Option<Offsets>,
    /// When the brokers were asked for the ends of partitions last, by a query that takes records as they arrive.
    asked_at: Option<Instant>,
}

/// What the progress says.
#[derive(Debug, Default)]
struct Figures {
    latest: Option<Offsets>,
    end: Option<Offsets>,
    /// How long the next batch waits for `minOffsetsPerTrigger`.
    waits: Option<Duration>,
}

impl KafkaSource {
    /// Connects, and finds the topics.
    pub async fn open(stream: &KafkaStream, ctx: &SourceContext) -> Result<Self> {
        let servers = stream.common.settings.servers();
        let client = Client::new(&stream.common.config(MIN_PREFETCH_KBYTES), servers)?;
        let broker = Broker::new(client, servers);
        let topics = stream.common.subscription.topics(&broker, stream.common.retry).await?;
        let mut known = KnownTopics::open(&ctx.dir)?;
        known.keep(&topics)?;
        let memory =
            MemoryConsumer::new("records of Kafka fetched ahead").register(&ctx.session.runtime_env().memory_pool);
        memory.try_grow(stream.prefetch_bytes as usize)?;
        let partitions = partitions_of(&topics).len().max(1) as u64;
        let kbytes = (stream.prefetch_bytes / 1024 / partitions).max(MIN_PREFETCH_KBYTES);
        let readers = Readers::new(stream.common.config(kbytes), servers, ctx.wake.clone());
        let group =
            stream.commits_offsets.then(|| Group::new(&stream.common.settings, stream.group(ctx))).transpose()?;
        let state = State {
            known,
            topics,
            looked_at: Instant::now(),
            available: None,
            last_batch: None,
            position: None,
            asked_at: None,
        };
        Ok(Self {
            stream: stream.clone(),
            reading: stream.common.reading.clone(),
            broker,
            readers,
            bad: Arc::default(),
            group: Mutex::new(group),
            state: tokio::sync::Mutex::new(state),
            figures: Mutex::default(),
            _memory: memory,
        })
    }

    /// The ends of all partitions that there are now, with the ids of topics that were made anew.
    async fn latest(&self, state: &mut State) -> Result<Offsets> {
        if state.looked_at.elapsed() >= TOPICS_EVERY {
            state.topics = self.stream.common.subscription.topics(&self.broker, self.stream.common.retry).await?;
            state.looked_at = Instant::now();
            state.known.keep(&state.topics)?;
        }
        let partitions = partitions_of(&state.topics);
        let found = self.broker.offsets(partitions.iter().map(|p| (p.clone(), LATEST)).collect()).await?;
        let mut latest = Offsets::default();
        for partition in partitions {
            // One without an answer is gone, which the next look at the topics will say.
            if let Some(offset) = found.get(&partition).copied().flatten() {
                latest.set(&partition, offset);
            }
        }
        for (name, offsets) in &mut latest.0 {
            if let Some(topic) = state.topics.get(name) {
                offsets.id = state.known.id_for_offsets(name, topic);
            }
        }
        Ok(latest)
    }

    /// What became of records that are gone: an error, or a word about it.
    fn loss(&self, condition: &'static str, message: String) -> Result<()> {
        if self.reading.fails_on_data_loss {
            return Err(data_loss(condition, message));
        }
        tracing::warn!("kafka: {message}; going on with what is there");
        Ok(())
    }

    /// Compares where the query stands with what there is.
    async fn look_for_loss(&self, state: &State, start: &Offsets, latest: &Offsets) -> Result<()> {
        for (name, topic) in &state.topics {
            if state.known.is_made_anew(name, topic, start) {
                let of_topic = |all: &Offsets| all.iter().filter(|(p, _)| p.topic == *name).collect::<Vec<_>>();
                let old: Offsets = of_topic(start).into_iter().collect();
                let new: Offsets = of_topic(latest).into_iter().collect();
                let partitions: Vec<_> = old.iter().map(|(partition, _)| partition).collect();
                let message = format!(
                    "the topic '{name}' was deleted and made anew: the query has read {old} of the old one ({}), and the new one ends at {new}",
                    names(&partitions)
                );
                self.loss("KAFKA_DATA_LOSS.TOPIC_MADE_ANEW", message)?;
                self.readers.keep(|partition| partition.topic != *name);
            }
        }
        let deleted: Vec<_> = start.iter().map(|(p, _)| p).filter(|p| latest.get(p).is_none()).collect();
        if !deleted.is_empty() {
            let message = format!("partitions are no longer read, or deleted: {}", names(&deleted));
            self.loss("KAFKA_DATA_LOSS.PARTITIONS_DELETED", message)?;
        }
        for (partition, end) in latest.iter() {
            let from = start.start_of(&partition, latest);
            if end < from {
                let message = format!("the end of partition {partition} went back from {from} to {end}");
                self.loss("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED", message)?;
            }
        }
        // A partition that the query has not seen begins at 0, or records of it are gone.
        let new = latest.iter().filter(|(partition, _)| start.get(partition).is_none());
        for (partition, first) in self.broker.offsets(new.map(|(p, _)| (p, EARLIEST)).collect()).await? {
            if let Some(first) = first.filter(|first| *first > 0) {
                let message = format!("the new partition {partition} starts at {first} instead of 0");
                self.loss("KAFKA_DATA_LOSS.ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO", message)?;
            }
        }
        Ok(())
    }

    /// Whether a batch has to wait for more offsets, and how long at most.
    fn wait_for_more(&self, state: &State, waiting: i64) -> Option<Duration> {
        let limits = &self.stream.limits;
        let (least, last) = (limits.least?, state.last_batch?);
        let left = limits.delay.saturating_sub(last.elapsed());
        (waiting < least && !left.is_zero() && state.available.is_none()).then_some(left)
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn schema(&self) -> SchemaRef {
        self.reading.rows.schema().clone()
    }

    fn description(&self) -> String {
        format!("KafkaV2[{}]", self.stream.common.subscription)
    }

    async fn initial_offset(&self) -> Result<Offset> {
        let partitions = partitions_of(&self.state.lock().await.topics);
        let stream = &self.stream;
        let mut start = stream.common.start.starting(&self.broker, &partitions, stream.common.or_latest).await?;
        let ends = self.broker.offsets(partitions.into_iter().map(|p| (p, LATEST)).collect()).await?;
        for (partition, from) in start.clone().iter() {
            let Some(end) = ends.get(&partition).copied().flatten().filter(|end| *end < from) else { continue };
            let message = format!("partition {partition} cannot be read from {from} on: it ends at {end}");
            self.loss("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED", message)?;
            start.set(&partition, end);
        }
        Ok(start.to_json())
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let start = Offsets::from_json(start)?;
        let mut state = self.state.lock().await;
        if state.position.as_ref() != Some(&start) {
            if state.position.is_some() {
                state.last_batch = Some(Instant::now());
            }
            if let Some(group) = self.group.lock().as_ref() {
                group.commit(&start, false);
            }
            state.position = Some(start.clone());
        }
        let latest = match &state.available {
            Some(fixed) if limit == ReadLimit::Configured => fixed.clone(),
            _ => self.latest(&mut state).await?,
        };
        self.look_for_loss(&state, &start, &latest).await?;
        let waiting = backlog(&start, &latest);
        let waits = match limit {
            ReadLimit::All => None,
            ReadLimit::Configured => self.wait_for_more(&state, waiting),
        };
        let end = match (limit, self.stream.limits.most) {
            _ if waits.is_some() => start.clone(),
            (ReadLimit::Configured, Some(most)) => limited(&start, &latest, most),
            _ => latest.clone(),
        };
        for (partition, _) in latest.iter() {
            self.readers.prefetch(&partition, start.start_of(&partition, &latest))?;
        }
        self.readers.keep(|partition| latest.get(partition).is_some());
        let mut figures = self.figures.lock();
        figures.latest = Some(latest);
        figures.waits = waits;
        figures.end.get_or_insert_with(|| start.clone());
        Ok((end != start).then(|| end.to_json()))
    }

    /// What the readers have, without asking the brokers; these are asked now and then, for new partitions and for what is lost.
    async fn arrived(&self, start: &Offset) -> Result<Option<Offset>> {
        let from = Offsets::from_json(start)?;
        let mut latest = from.clone();
        {
            let mut state = self.state.lock().await;
            let is_asked = state.asked_at.is_some_and(|at| at.elapsed() < TOPICS_EVERY);
            let is_plain = self.stream.limits.least.is_none() && state.available.is_none();
            let is_here = is_asked
                && is_plain
                && from.iter().all(|(partition, next)| match self.readers.arrived(&partition, next) {
                    Some(end) => {
                        latest.set(&partition, end);
                        true
                    }
                    None => false,
                });
            if !is_here {
                state.asked_at = Some(Instant::now());
                drop(state);
                return self.latest_offset(start, ReadLimit::Configured).await;
            }
        }
        let end = match self.stream.limits.most {
            Some(most) => limited(&from, &latest, most),
            None => latest,
        };
        let mut figures = self.figures.lock();
        figures.waits = None;
        if let Some(known) = &mut figures.latest {
            let newer = end.iter().filter(|(partition, to)| known.get(partition).is_some_and(|known| known < *to));
            newer.collect::<Vec<_>>().into_iter().for_each(|(partition, to)| known.set(&partition, to));
        }
        figures.end.get_or_insert_with(|| from.clone());
        Ok((end != from).then(|| end.to_json()))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (Offsets::from_json(start)?, Offsets::from_json(end)?);
        let scan = KafkaScan::new(self.reading.clone(), self.readers.clone(), self.bad.clone(), &start, &end);
        self.figures.lock().end = Some(end);
        Ok(Arc::new(scan))
    }

    async fn commit(&self, _: &Offset) -> Result<()> {
        // The brokers keep records as long as they are told to; the group is told when the batch is done.
        Ok(())
    }

    fn is_replayable(&self, _: &Offset, _: &Offset) -> bool {
        true
    }

    async fn prepare_available_now(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.available = Some(self.latest(&mut state).await?);
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        let waits = self.figures.lock().waits;
        Some(waits.map_or(TOPICS_EVERY, |left| left.min(TOPICS_EVERY)))
    }

    fn begins_with_a_batch(&self) -> bool {
        self.figures.lock().latest.as_ref().is_some_and(|latest| latest.iter().next().is_some())
    }

    fn latest_known(&self) -> Option<Offset> {
        self.figures.lock().latest.as_ref().map(Offsets::to_json)
    }

    fn metrics(&self) -> SourceMetrics {
        let figures = self.figures.lock();
        let behind = figures
            .latest
            .iter()
            .zip(&figures.end)
            .flat_map(|(latest, end)| latest.iter().map(move |(p, to)| (to - end.start_of(&p, latest)).max(0)));
        let behind: Vec<_> = behind.collect();
        let mut custom = vec![];
        if let (Some(most), Some(least)) = (behind.iter().max(), behind.iter().min()) {
            let average = behind.iter().sum::<i64>() as f64 / behind.len() as f64;
            custom.push(("avgOffsetsBehindLatest".to_owned(), format!("{:?}", (average * 10.0).round() / 10.0)));
            custom.push(("maxOffsetsBehindLatest".to_owned(), most.to_string()));
            custom.push(("minOffsetsBehindLatest".to_owned(), least.to_string()));
        }
        SourceMetrics { bad_records: self.bad.count(), custom: custom.into_iter().collect() }
    }

    fn partitions(&self, start: &Offset, end: &Offset) -> Vec<(String, bool)> {
        let (true, Ok(start), Ok(end)) = (self.stream.by_partition, Offsets::from_json(start), Offsets::from_json(end))
        else {
            return vec![];
        };
        end.iter().map(|(p, to)| (p.to_string(), start.start_of(&p, &end) < to)).collect()
    }

    fn is_waiting(&self) -> bool {
        self.readers.is_waiting()
    }

    fn first_bad_record(&self) -> Option<String> {
        self.bad.take_first()
    }

    async fn stop(&self) -> Result<()> {
        let position = self.state.lock().await.position.clone();
        let (readers, group) = (self.readers.clone(), self.group.lock().take());
        let (done, ended) = tokio::sync::oneshot::channel();
        // Ending waits for threads of librdkafka, and the last commit for a broker: if there is none, not for long.
        std::thread::spawn(move || {
            if let (Some(group), Some(position)) = (&group, position) {
                group.commit(&position, true);
            }
            readers.close();
            let _ = done.send(());
        });
        if tokio::time::timeout(LAST_PATIENCE, ended).await.is_err() {
            tracing::debug!("kafka: no broker takes leave");
        }
        Ok(())
    }
}
