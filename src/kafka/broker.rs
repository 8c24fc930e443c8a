//! Requests to the brokers: which topics there are, and which offsets they have.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset as ListedOffset;

use super::error::is_transient;
use super::{Client, Waiting};
use crate::error::{Error, Result};

/// Asks for the first offset of a partition.
pub const EARLIEST: i64 = -2;
/// Asks for the offset behind the last record of a partition.
pub const LATEST: i64 = -1;

/// How long one request may take before it is sent again.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(200);

/// A partition of a topic. Ordered by topic and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// From 0.
    pub number: i32,
}

impl fmt::Display for Partition {
    /// As Kafka's own tools write it: `orders-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// What tells it from another of the same name, made later. None if the brokers do not say.
    pub id: Option<String>,
    /// The numbers of its partitions, ascending.
    pub partitions: Vec<i32>,
}

/// A cluster that is asked. Requests that fail because no broker is there are sent again until one is.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Arc<Client>,
    servers: Arc<str>,
}

impl Broker {
    /// Asks through `client`, whose brokers are `servers`.
    pub fn new(client: Arc<Client>, servers: &str) -> Self {
        Self { client, servers: servers.into() }
    }

    /// The connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The brokers, for messages.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Sends a request until it is answered, with a line in the log when it has to wait and when that is over.
    ///
    /// # Errors
    /// What waiting does not mend: a wrong password, no permission, a topic that is not there.
    pub async fn ask<T: Send + 'static>(
        &self,
        what: &str,
        request: impl Fn(&Client) -> Result<T, KafkaError> + Clone + Send + 'static,
    ) -> Result<T> {
        let mut waiting = Waiting::new(what, &self.servers);
        loop {
            let (client, request) = (self.client.clone(), request.clone());
            let answer = tokio::task::spawn_blocking(move || request(&client)).await;
            match answer.map_err(|e| Error::internal(format!("asking a broker: {e}")))? {
                Ok(answer) => {
                    waiting.end();
                    self.client.watch().answered();
                    return Ok(answer);
                }
                Err(error) => {
                    let may_pass = error.rdkafka_error_code().is_some_and(is_transient);
                    waiting.go_on(&error, self.client.watch().refusal(), may_pass)?;
                }
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// The names of all topics, without the internal ones.
    ///
    /// # Errors
    /// See [`Broker::ask`].
    pub async fn topic_names(&self) -> Result<Vec<String>> {
        let names = |client: &Client| {
            let metadata = client.consumer().fetch_metadata(None, PATIENCE)?;
            let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
            Ok(names.filter(|name| !is_internal(name)).collect())
        };
        self.ask("the list of topics", names).await
    }

    /// These topics as they are now; those that are not there are left out.
    ///
    /// # Errors
    /// See [`Broker::ask`].
    pub async fn topics(&self, names: &[String]) -> Result<BTreeMap<Arc<str>, Topic>> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted = names.to_vec();
        self.ask(&format!("the topics {}", names.join(", ")), move |client| describe(client, &wanted)).await
    }

    /// For each partition the offset that is asked for: [`EARLIEST`], [`LATEST`], or that of the first record with this time or a later
    /// one, which need not be there. A partition that is not there is left out.
    ///
    /// # Errors
    /// See [`Broker::ask`].
    pub async fn offsets(&self, wanted: Vec<(Partition, i64)>) -> Result<BTreeMap<Partition, Option<i64>>> {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics: std::collections::BTreeSet<_> = wanted.iter().map(|(p, _)| p.topic.as_ref()).collect();
        let what = format!("the offsets of {}", topics.into_iter().collect::<Vec<_>>().join(", "));
        self.ask(&what, move |client| list_offsets(client, &wanted)).await
    }
}

/// Whether it is one of Kafka's own, which no subscription reads.
pub fn is_internal(topic: &str) -> bool {
    topic == "__consumer_offsets" || topic == "__transaction_state"
}

fn list_offsets(client: &Client, wanted: &[(Partition, i64)]) -> Result<BTreeMap<Partition, Option<i64>>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(wanted.len());
    for (partition, at) in wanted {
        let at = match *at {
            EARLIEST => ListedOffset::Beginning,
            LATEST => ListedOffset::End,
            time => ListedOffset::Offset(time),
        };
        list.add_partition_offset(&partition.topic, partition.number, at)?;
    }
    let answer = client.consumer().offsets_for_times(list, PATIENCE)?;
    let mut found = BTreeMap::new();
    for element in answer.elements() {
        match element.error() {
            Ok(()) => {}
            Err(e) if is_missing(e.rdkafka_error_code()) => continue,
            Err(e) => return Err(e),
        }
        let partition = Partition { topic: element.topic().into(), number: element.partition() };
        let offset = element.offset().to_raw().filter(|offset| *offset >= 0);
        found.insert(partition, offset);
    }
    Ok(found)
}

fn is_missing(code: Option<Code>) -> bool {
    matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition))
}

/// What is to be freed when the request is done.
struct Request {
    options: *mut sys::rd_kafka_AdminOptions_t,
    queue: *mut sys::rd_kafka_queue_t,
    topics: *mut sys::rd_kafka_TopicCollection_t,
    event: *mut sys::rd_kafka_event_t,
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: each is null or was made by librdkafka for this request, which has ended.
        unsafe {
            if !self.event.is_null() {
                sys::rd_kafka_event_destroy(self.event);
            }
            sys::rd_kafka_TopicCollection_destroy(self.topics);
            sys::rd_kafka_AdminOptions_destroy(self.options);
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// Metadata has no topic ids in the crate: the admin request of librdkafka has.
fn describe(client: &Client, names: &[String]) -> Result<BTreeMap<Arc<str>, Topic>, KafkaError> {
    let names: Vec<_> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let failed = |code: sys::rd_kafka_resp_err_t| KafkaError::MetadataFetch(code.into());
    // SAFETY: arguments live until the request is answered or given up, which the queue is polled for; what the event holds is copied
    // before `request` frees it.
    unsafe {
        let rk = client.native();
        let mut request = Request {
            options: sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            queue: sys::rd_kafka_queue_new(rk),
            topics: sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            event: ptr::null_mut(),
        };
        let mut said = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            request.options,
            PATIENCE.as_millis() as i32,
            said.as_mut_ptr(),
            said.len(),
        );
        sys::rd_kafka_DescribeTopics(rk, request.topics, request.options, request.queue);
        request.event = sys::rd_kafka_queue_poll(request.queue, 2 * PATIENCE.as_millis() as i32);
        if request.event.is_null() {
            return Err(failed(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT));
        }
        let error = sys::rd_kafka_event_error(request.event);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(error));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(request.event);
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut found = BTreeMap::new();
        for i in 0..count {
            let topic = *topics.add(i);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let code = match error.is_null() {
                true => sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                false => sys::rd_kafka_error_code(error),
            };
            match code {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                code if is_missing(Some(code.into())) => continue,
                code => return Err(failed(code)),
            }
            let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            found.insert(Arc::from(name.as_ref()), topic_of(topic));
        }
        Ok(found)
    }
}

/// # Safety
/// `topic` is a description that librdkafka has given and not freed.
unsafe fn topic_of(topic: *const sys::rd_kafka_TopicDescription_t) -> Topic {
    // SAFETY: the caller's; all that is read belongs to the description.
    unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let is_known = !id.is_null()
            && (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id)) != (0, 0);
        let id = is_known.then(|| CStr::from_ptr(sys::rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned());
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let number = |i| sys::rd_kafka_TopicPartitionInfo_partition(*partitions.add(i));
        let mut partitions: Vec<_> = (0..count).map(number).collect();
        partitions.sort_unstable();
        Topic { id, partitions }
    }
}
