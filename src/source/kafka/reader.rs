//! Readers of partitions that stay between batches: they fetch ahead while a batch runs, and wake the query when records come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::kafka::{Client, Partition, Record, RecordQueue, failed, is_transient};

/// Bytes of keys and values that are given at a time, about.
const BYTES: usize = 8 << 20;
/// Records that are taken from librdkafka at a time.
const TAKEN: usize = 1024;
/// How long a request for the ends of a partition may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of reading a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The range is read to its end.
    Done,
    /// There are as many records as were asked for, or many bytes.
    Full,
    /// Nothing came in time.
    Idle,
    /// The offset that is next is not in the partition.
    OutOfRange,
}

/// The records of one partition, from a position on.
#[derive(Debug)]
pub struct Reader {
    /// Records beyond the range that was read last.
    held: VecDeque<Record>,
    queue: RecordQueue,
    partition: Partition,
    /// Everything before it has been given.
    next: i64,
}

impl Reader {
    /// Where it stands.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Adds records before `to` to `into`, until there are `most` in it or they are long; waits up to `patience` for one.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub fn read(&mut self, to: i64, most: usize, patience: Duration, into: &mut Vec<Record>) -> Result<Progress> {
        let mut bytes = 0;
        loop {
            if self.next >= to {
                return Ok(Progress::Done);
            }
            if into.len() >= most || bytes >= BYTES {
                return Ok(Progress::Full);
            }
            let Some(record) = self.held.pop_front() else {
                let mut taken = vec![];
                self.queue.take(TAKEN, patience, &mut taken);
                if taken.is_empty() {
                    return Ok(Progress::Idle);
                }
                self.held.extend(taken);
                continue;
            };
            match record.error() {
                None if record.offset() >= to => {
                    // Between here and there is a gap: markers of transactions, or what compaction has removed.
                    self.next = to;
                    self.held.push_front(record);
                }
                None => {
                    self.next = record.offset() + 1;
                    bytes += [record.key(), record.value()].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
                    into.push(record);
                }
                Some(Code::PartitionEOF) => self.next = self.next.max(record.offset()),
                Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => return Ok(Progress::OutOfRange),
                // The library tries again by itself.
                Some(code) if is_transient(code) => tracing::debug!("kafka: {}: {code}", self.partition),
                Some(code) => {
                    let e = rdkafka::error::KafkaError::MessageConsumption(code);
                    return Err(failed(&format!("reading partition {}", self.partition), "", &e));
                }
            }
        }
    }

    /// The end of the records that are here; none if something else than a record is.
    fn arrived(&mut self) -> Option<i64> {
        if self.held.len() < TAKEN {
            let mut taken = vec![];
            self.queue.take(TAKEN, Duration::ZERO, &mut taken);
            self.held.extend(taken);
        }
        let mut end = self.next;
        for record in &self.held {
            match record.error() {
                None => end = record.offset() + 1,
                Some(Code::PartitionEOF) => {}
                Some(_) => return None,
            }
        }
        Some(end)
    }

    /// The first offset of the partition and the one behind its last record; `None` if no broker answers.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub fn ends(&self) -> Result<Option<(i64, i64)>> {
        match self.queue.client().consumer().fetch_watermarks(&self.partition.topic, self.partition.number, PATIENCE) {
            Ok(ends) => Ok(Some(ends)),
            Err(e) if e.rdkafka_error_code().is_some_and(is_transient) => Ok(None),
            Err(e) => Err(failed(&format!("the offsets of partition {}", self.partition), "", &e)),
        }
    }
}

/// Readers of one client; it reads a partition at one position at a time.
#[derive(Debug)]
struct Seat {
    client: Arc<Client>,
    free: HashMap<Partition, Reader>,
    taken: HashSet<Partition>,
}

/// All readers of a source.
#[derive(Debug)]
pub struct Readers {
    config: ClientConfig,
    servers: String,
    wake: Arc<Notify>,
    seats: Mutex<Vec<Seat>>,
    /// Scans that wait for records which do not come.
    waiting: AtomicUsize,
}

/// A scan waits for records which do not come, as long as this is there.
#[derive(Debug)]
pub struct Wait(Arc<Readers>);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Readers {
    /// Readers with these settings, which notify `wake` when records come.
    pub fn new(config: ClientConfig, servers: &str, wake: Arc<Notify>) -> Arc<Self> {
        let (seats, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { config, servers: servers.to_owned(), wake, seats, waiting })
    }

    /// Tells of a scan that waits.
    pub fn wait(self: &Arc<Self>) -> Wait {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Wait(self.clone())
    }

    /// Whether a scan waits for records which do not come.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Has a reader fetch ahead from `next` on, unless one does.
    ///
    /// # Errors
    /// No reader can be made.
    pub fn prefetch(self: &Arc<Self>, partition: &Partition, next: i64) -> Result<()> {
        let is_there = |seat: &Seat| seat.free.get(partition).is_some_and(|reader| reader.next == next);
        if self.seats.lock().iter().any(is_there) {
            return Ok(());
        }
        self.lease(partition, next).map(drop)
    }

    /// The end of the records of the partition that are here, if a reader stands at `next` and has met nothing else.
    pub fn arrived(&self, partition: &Partition, next: i64) -> Option<i64> {
        let mut seats = self.seats.lock();
        let stands = |seat: &mut Seat| seat.free.get_mut(partition).filter(|reader| reader.next == next)?.arrived();
        seats.iter_mut().find_map(stands)
    }

    /// A reader of the partition that stands at `next`; it comes back when the lease is dropped.
    ///
    /// # Errors
    /// No reader can be made.
    pub fn lease(self: &Arc<Self>, partition: &Partition, next: i64) -> Result<Lease> {
        let (seat, found, client) = {
            let mut seats = self.seats.lock();
            let stands = |seat: &Seat| seat.free.get(partition).is_some_and(|reader| reader.next == next);
            let seat =
                match seats.iter().position(stands).or_else(|| seats.iter().position(|s| !s.taken.contains(partition)))
                {
                    Some(seat) => seat,
                    None => {
                        let client = Client::new(&self.config, &self.servers)?;
                        seats.push(Seat { client, free: HashMap::new(), taken: HashSet::new() });
                        seats.len() - 1
                    }
                };
            seats[seat].taken.insert(partition.clone());
            (seat, seats[seat].free.remove(partition), seats[seat].client.clone())
        };
        let mut lease = Lease { reader: None, readers: self.clone(), seat, partition: partition.clone() };
        lease.reader = match found {
            Some(reader) if reader.next == next => Some(reader),
            other => {
                // The client reads a partition once: the old reader ends before the new one begins.
                drop(other);
                Some(self.start(&client, partition, next)?)
            }
        };
        Ok(lease)
    }

    fn start(&self, client: &Arc<Client>, partition: &Partition, next: i64) -> Result<Reader> {
        let queue =
            RecordQueue::start(client, &partition.topic, partition.number, next, &self.wake).map_err(|code| {
                let e = rdkafka::error::KafkaError::MessageConsumption(code);
                failed(&format!("reading partition {partition}"), &self.servers, &e)
            })?;
        Ok(Reader { held: VecDeque::new(), queue, partition: partition.clone(), next })
    }

    /// Ends the readers of partitions that are not to be read any more.
    pub fn keep(&self, is_kept: impl Fn(&Partition) -> bool) {
        let mut gone = vec![];
        for seat in self.seats.lock().iter_mut() {
            // What a client tells of itself piles up unless it is heard.
            seat.client.watch();
            gone.extend(seat.free.extract_if(|partition, _| !is_kept(partition)));
        }
        // Ending waits for a thread of librdkafka: not under the lock.
        drop(gone);
    }

    /// Ends all readers and their connections.
    pub fn close(&self) {
        let seats = std::mem::take(&mut *self.seats.lock());
        drop(seats);
    }
}

/// A reader on loan.
#[derive(Debug)]
pub struct Lease {
    reader: Option<Reader>,
    readers: Arc<Readers>,
    seat: usize,
    partition: Partition,
}

impl Lease {
    /// The reader.
    ///
    /// # Errors
    /// It could not be made.
    pub fn reader(&mut self) -> Result<&mut Reader> {
        let partition = &self.partition;
        self.reader.as_mut().ok_or_else(|| Error::internal(format!("partition {partition} has no reader")))
    }

    /// Goes to another position.
    ///
    /// # Errors
    /// No reader can be made.
    pub fn seek(&mut self, next: i64) -> Result<()> {
        let Some(old) = self.reader.take() else { return Ok(()) };
        let client = old.queue.client().clone();
        drop(old);
        self.reader = Some(self.readers.start(&client, &self.partition, next)?);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(seat) = self.readers.seats.lock().get_mut(self.seat) {
            seat.taken.remove(&self.partition);
            if let Some(reader) = self.reader.take() {
                seat.free.insert(self.partition.clone(), reader);
            }
        }
    }
}
