//! Objects in memory: ranges, pieces that are read ahead, objects that change.

use super::testing::{Fault, memory, store};
use super::*;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

#[test]
fn an_object_is_read_in_order_with_few_requests() {
    let (store, text) = (store("window"), bytes(20 << 20));
    store.put("a/big", text.clone()).unwrap();
    let object = store.list("a").unwrap().remove(0);
    let file = store.file(&object.key, object.size, object.tag.as_deref()).unwrap();
    let before = memory("window").gets.load(std::sync::atomic::Ordering::Relaxed);
    let (mut window, mut pos, mut read) = (Window::default(), 0, vec![]);
    let mut buffer = vec![0; 10_000];
    loop {
        let n = window.read(&file, pos, &mut buffer).unwrap();
        if n == 0 {
            break;
        }
        read.extend_from_slice(&buffer[..n]);
        pos += n as u64;
    }
    assert!(read == text);
    let gets = memory("window").gets.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(gets <= 6, "{gets} requests");
    // Elsewhere, and behind the end.
    assert_eq!(window.read(&file, 5, &mut buffer[..3]).unwrap(), 3);
    assert_eq!(buffer[..3], text[5..8]);
    assert_eq!(window.read(&file, 20 << 20, &mut buffer).unwrap(), 0);
}

#[test]
fn an_object_that_changed_or_went_is_noticed() {
    let store = store("changed");
    store.put("x", "one").unwrap();
    let object = store.head("x").unwrap().unwrap();
    let file = store.file("x", object.size, object.tag.as_deref()).unwrap();
    assert_eq!(file.read(1..3).unwrap(), "ne");
    let ranges = wait(async move { file.fetch(vec![0..1, 2..3]).await }).unwrap().unwrap();
    assert_eq!(ranges, ["o", "e"]);
    let file = store.file("x", object.size, object.tag.as_deref()).unwrap();
    store.put("x", "two").unwrap();
    let e = std::io::Error::from(file.read(0..3).unwrap_err());
    assert!(matches!(fault_of(&e), Some(StoreFault::Changed)), "{e}");
    store.delete(vec!["x".into(), "never".into()]).unwrap();
    assert!(matches!(file.read(0..3), Err(StoreFault::Missing)));
}

#[test]
fn of_two_who_create_an_object_one_wins_also_if_its_answer_is_lost() {
    let store = store("create");
    assert_eq!(store.create("log/1", "a").unwrap(), None);
    assert_eq!(store.create("log/1", "b").unwrap().unwrap(), "a");
    memory("create").fail(Fault::LostAnswer("log/2"));
    assert_eq!(store.create("log/2", "a").unwrap(), None, "it is there");
    memory("create").fail(Fault::Refused("log/3"));
    let e = store.create("log/3", "a").unwrap_err();
    assert_eq!(e.condition(), "STORE_IO");
    assert!(e.message().contains("memory://create/log/3"), "{e}");
    assert_eq!(store.get("log/3").unwrap(), None);
}

#[test]
fn large_files_go_in_parts_and_can_be_abandoned() {
    let (store, text) = (store("parts"), bytes(20 << 20));
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &text).unwrap();
    let upload = store.begin_upload("big", file.try_clone().unwrap(), text.len() as u64).unwrap();
    assert!(upload.id.upload.is_some());
    assert_eq!(store.head("big").unwrap(), None);
    let tag = store.finish_uploads(vec![upload]).unwrap().remove(0);
    assert!(store.get("big").unwrap().unwrap() == text);
    assert_eq!(store.head("big").unwrap().unwrap().tag, tag);
    let upload = store.begin_upload("never", file, text.len() as u64).unwrap();
    store.abandon(&[upload.id.clone(), UploadId { key: "small".into(), upload: None }]).unwrap();
    assert!(store.finish_uploads(vec![upload]).is_err());
    assert_eq!(store.list("").unwrap().len(), 1);
}

#[test]
fn each_kind_of_store_takes_its_options_and_shows_no_secret() {
    let open = |path: &str, pairs: &[(&str, &str)]| -> Result<Option<(Store, String)>> {
        let options = crate::options::Options::from_iter(pairs.iter().copied());
        for (key, value) in options.display() {
            assert!(!value.contains("c2VjcmV0"), "{key} is shown");
        }
        let reader = OptionReader::new("the test", &options, &[&OPTIONS]);
        let opened = Store::of(path, &reader)?;
        reader.finish()?;
        Ok(opened)
    };
    let secret = "c2VjcmV0";
    let stores: [(&str, &[(&str, &str)]); 6] = [
        ("s3://b/k", &[("s3.accessKeyId", secret), ("s3.secretAccessKey", secret), ("s3.sessionToken", secret)]),
        ("s3a://b/k", &[("fs.s3a.access.key", secret), ("fs.s3a.secret.key", secret), ("fs.s3a.endpoint", "h:9")]),
        ("gs://b/k", &[("gcs.anonymous", "true"), ("storeTimeout", "1 second")]),
        ("az://b/k", &[("azure.account", "a"), ("azure.accountKey", secret)]),
        ("abfss://b@a.dfs.core.windows.net/k", &[("azure.sasToken", "sig=c2VjcmV0")]),
        ("https://h/k", &[]),
    ];
    for (path, options) in stores {
        let (store, key) = open(path, options).unwrap().unwrap();
        assert_eq!(key, "k");
        assert!(!format!("{store:?}").contains(secret), "{store:?}");
    }
    assert!(open("/local", &[]).unwrap().is_none());
    assert_eq!(open("/local", &[("s3.region", "x")]).unwrap_err().condition(), "INVALID_OPTION");
    assert_eq!(open("gs://b/k", &[("s3.region", "x")]).unwrap_err().condition(), "INVALID_OPTION");
    let e = open("s3://b/k", &[("s3.accessKeyId", secret)]).unwrap_err();
    assert!(!e.message().contains(secret), "{e}");
}
