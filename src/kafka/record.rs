//! Records of one partition as librdkafka has fetched them: borrowed bytes, no copies.

use std::ffi::{CString, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::Client;

/// A record, or what came in its place.
pub struct Record(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message of librdkafka belongs to whoever took it from its queue, on any thread.
unsafe impl Send for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("offset", &self.offset()).finish_non_exhaustive()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing borrows from it any more.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Record {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message lives as long as `self`.
        unsafe { self.0.as_ref() }
    }

    /// Why there is no record, if there is none. At the end of a partition it is `PartitionEOF`, with the offset of the end.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let err = self.raw().err;
        (err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| err.into())
    }

    /// Where it is.
    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: the bytes live as long as the message.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// Its value; none is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// Milliseconds since the epoch, and whether the broker has set them when it got the record.
    pub fn timestamp(&self) -> (i64, bool) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: plain reads of a live message.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (ms, kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
    }

    /// Its headers, if it has some.
    pub fn headers(&self) -> Option<Headers<'_>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the headers belong to the message, which `Headers` borrows.
        let err = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        let found = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        found.then_some(Headers { raw: headers, next: 0, record: std::marker::PhantomData })
    }
}

/// # Safety
/// `len` bytes at `at`, unless that is null, live as long as `'a`.
unsafe fn bytes<'a>(at: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), len) })
}

/// The headers of a record: names and values, in order.
#[derive(Debug)]
pub struct Headers<'a> {
    raw: *mut sys::rd_kafka_headers_t,
    next: usize,
    record: std::marker::PhantomData<&'a Record>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: name and value belong to the record, which is borrowed for `'a`.
        unsafe {
            let err = sys::rd_kafka_header_get_all(self.raw, self.next, &raw mut name, &raw mut value, &raw mut len);
            if err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            Some((std::ffi::CStr::from_ptr(name).to_bytes(), bytes(value.cast_mut(), len)))
        }
    }
}

/// The records of a partition from an offset on, fetched ahead.
pub struct RecordQueue {
    queue: *mut sys::rd_kafka_queue_t,
    topic: *mut sys::rd_kafka_topic_t,
    partition: i32,
    /// What is notified when a record comes into the empty queue; librdkafka has its address.
    _wake: Arc<Notify>,
    /// Lives longer than its queues.
    client: Arc<Client>,
}

// SAFETY: the handles of librdkafka may be used from any thread.
unsafe impl Send for RecordQueue {}
// SAFETY: the same.
unsafe impl Sync for RecordQueue {}

impl fmt::Debug for RecordQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordQueue").field("partition", &self.partition).finish_non_exhaustive()
    }
}

unsafe extern "C" fn notify(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: the address is that of `RecordQueue::_wake`, which is there until the call-back is taken away.
    unsafe { &*wake.cast::<Notify>() }.notify_one();
}

impl RecordQueue {
    /// Begins to fetch at `offset`.
    ///
    /// # Errors
    /// The partition is being read by this client.
    pub fn start(
        client: &Arc<Client>,
        topic: &str,
        partition: i32,
        offset: i64,
        wake: &Arc<Notify>,
    ) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: handles of a live client; what is made here is taken down by `drop`, also where the start fails.
        unsafe {
            let topic = sys::rd_kafka_topic_new(client.native(), name.as_ptr(), ptr::null_mut());
            if topic.is_null() {
                return Err(sys::rd_kafka_last_error().into());
            }
            let queue = sys::rd_kafka_queue_new(client.native());
            let wake = wake.clone();
            sys::rd_kafka_queue_cb_event_enable(queue, Some(notify), Arc::as_ptr(&wake).cast_mut().cast());
            let started = Self { queue, topic, partition, _wake: wake, client: client.clone() };
            match sys::rd_kafka_consume_start_queue(topic, partition, offset, queue) {
                0 => Ok(started),
                _ => Err(sys::rd_kafka_last_error().into()),
            }
        }
    }

    /// The connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Adds up to `most` records to `into`: those that are there, or else the first that comes within `patience`.
    pub fn take(&self, most: usize, patience: Duration, into: &mut Vec<Record>) {
        let mut found: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); most];
        let keep = |message| NonNull::new(message).map(Record);
        // SAFETY: at most `most` messages are written into as many places, each of which is ours from then on.
        unsafe {
            let mut count = sys::rd_kafka_consume_batch_queue(self.queue, 0, found.as_mut_ptr(), most);
            if count == 0 && !patience.is_zero() {
                let first = sys::rd_kafka_consume_queue(self.queue, patience.as_millis() as i32);
                let Some(first) = keep(first) else { return };
                into.push(first);
                count = sys::rd_kafka_consume_batch_queue(self.queue, 0, found.as_mut_ptr(), most.saturating_sub(1));
            }
            into.extend(found.iter().take(count.max(0) as usize).filter_map(|message| keep(*message)));
        }
    }
}

impl Drop for RecordQueue {
    fn drop(&mut self) {
        // SAFETY: all of it was made by `start`, and is taken down once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_consume_stop(self.topic, self.partition);
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_topic_destroy(self.topic);
        }
    }
}
