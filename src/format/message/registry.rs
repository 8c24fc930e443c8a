//! A schema registry with Confluent's API: schemas by their numbers, and numbers of schemas.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`SchemaRegistry::read`] reads.
pub const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new(
        "schema.registry.url",
        OptionType::Text,
        "The schema registry whose schemas messages begin with the number of, as Confluent's serializers write them.",
    ),
    OptionSpec::new(
        "schema.registry.basic.auth.user.info",
        OptionType::Secret,
        "User and password at the registry, as user:password.",
    ),
];

const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a registry that does not answer is asked.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// Longer answers are none.
const MAX_ANSWER: usize = 16 << 20;
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// See the module.
pub struct SchemaRegistry {
    url: reqwest::Url,
    user: Option<(String, String)>,
    client: reqwest::Client,
    /// Schemas that were asked for: what a number stands for never changes, and every trigger asks.
    known: Mutex<HashMap<u32, String>>,
}

impl std::fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchemaRegistry").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Found {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// The number of the schema that a message begins with, and what follows it.
pub fn framed(message: &[u8]) -> Option<(u32, &[u8])> {
    let (id, body) = message.strip_prefix(&[0])?.split_first_chunk()?;
    Some((u32::from_be_bytes(*id), body))
}

/// What a message of this schema begins with.
pub fn frame(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

impl SchemaRegistry {
    /// The registry that the options name, if they name one.
    ///
    /// # Errors
    /// What is no URL.
    pub fn read(reader: &OptionReader<'_>) -> Result<Option<Self>> {
        let user = reader.string("schema.registry.basic.auth.user.info");
        let Some(text) = reader.string("schema.registry.url") else { return Ok(None) };
        let url = reqwest::Url::parse(text.trim_end_matches('/'));
        let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        let url = url.ok_or_else(|| reader.invalid("schema.registry.url", text, "a URL such as 'http://host:8081'"))?;
        let user = match user {
            None => None,
            Some(info) => {
                let key = "schema.registry.basic.auth.user.info";
                let (user, password) =
                    info.split_once(':').ok_or_else(|| reader.invalid(key, info, "user:password"))?;
                Some((user.to_owned(), password.to_owned()))
            }
        };
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| Error::internal(format!("an HTTP client: {e}")))?;
        Ok(Some(Self { url, user, client, known: Mutex::default() }))
    }

    /// The schema of this number; waits for the answer on a thread that may wait.
    ///
    /// # Errors
    /// No answer, a refusal, a schema that is no Avro.
    pub fn schema(&self, id: u32) -> Result<Option<String>> {
        if let Some(known) = self.known.lock().get(&id) {
            return Ok(Some(known.clone()));
        }
        let what = format!("schema {id}");
        let request = || self.client.get(format!("{}/schemas/ids/{id}", self.url.as_str().trim_end_matches('/')));
        let answer = tokio::runtime::Handle::current().block_on(self.ask(&what, request))?;
        let Some(answer) = answer else { return Ok(None) };
        let found: Found = self.read_answer(&what, &answer)?;
        let kind = found.schema_type.as_deref().unwrap_or("AVRO");
        if kind != "AVRO" || !found.references.is_empty() {
            let problem =
                if kind == "AVRO" { "it refers to other schemas".to_owned() } else { format!("it is {kind}") };
            return Err(self.failed(&what, &format!("{problem}, and only schemas of Avro that are whole are read")));
        }
        self.known.lock().insert(id, found.schema.clone());
        Ok(Some(found.schema))
    }

    /// The number of a schema, which is registered under `subject` if it is not there.
    ///
    /// # Errors
    /// No answer; a refusal, as of a schema that is not compatible with the one before.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let what = format!("the schema of '{subject}'");
        let body = serde_json::json!({ "schema": schema }).to_string();
        let mut url = self.url.clone();
        let segments = url.path_segments_mut().map(|mut path| {
            path.pop_if_empty().extend(["subjects", subject, "versions"]);
        });
        segments.map_err(|()| Error::internal("a URL without a path"))?;
        let request = || self.client.post(url.clone()).header("content-type", CONTENT).body(body.clone());
        let answer = self.ask(&what, request).await?;
        let answer =
            answer.ok_or_else(|| self.failed(&what, "there is no such address: is the path of the URL right?"))?;
        Ok(self.read_answer::<Registered>(&what, &answer)?.id)
    }

    fn read_answer<'a, T: Deserialize<'a>>(&self, what: &str, answer: &'a [u8]) -> Result<T> {
        serde_json::from_slice(answer).map_err(|e| self.failed(what, &format!("the answer is none of a registry: {e}")))
    }

    /// The body of the answer; nothing if there is no such thing. One that is busy or does not answer is asked again.
    async fn ask(&self, what: &str, request: impl Fn() -> reqwest::RequestBuilder) -> Result<Option<Vec<u8>>> {
        let mut attempt = 1;
        loop {
            let request = match &self.user {
                Some((user, password)) => request().basic_auth(user, Some(password)),
                None => request(),
            };
            let problem = match request.header("accept", CONTENT).send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let body = limited(answer).await;
                    match body {
                        Ok(body) if status.is_success() => return Ok(Some(body)),
                        Ok(_) if status == reqwest::StatusCode::NOT_FOUND => return Ok(None),
                        Ok(body) if !status.is_server_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS => {
                            let said = String::from_utf8_lossy(&body);
                            return Err(
                                self.failed(what, &format!("{status}: {}", said.chars().take(300).collect::<String>()))
                            );
                        }
                        Ok(_) => status.to_string(),
                        Err(e) => e,
                    }
                }
                Err(e) => e.without_url().to_string(),
            };
            if attempt == ATTEMPTS {
                return Err(self.failed(what, &format!("no answer: {problem}")));
            }
            tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    fn failed(&self, what: &str, problem: &str) -> Error {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        Error::io(
            "SCHEMA_REGISTRY_FAILED",
            format!("the schema registry at '{host}:{port}' does not give {what}: {problem}"),
        )
        .with_help("see whether it runs and lets this user in; the query goes on where it was when it is started again")
    }
}

/// The body of an answer that is not too long.
async fn limited(mut answer: reqwest::Response) -> std::result::Result<Vec<u8>, String> {
    let mut body = vec![];
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(format!("the answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok(body)
}
