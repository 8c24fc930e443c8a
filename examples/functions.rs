//! Functions, aggregates and tables of your own, which DataFusion's session has: SQL over streams sees them.
//!
//! `cargo run --example functions` gives the longest name of each country.

use std::sync::Arc;

use tidemill::MemoryStream;
use tidemill::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use tidemill::arrow::datatypes::{DataType, Field, Schema};
use tidemill::datafusion::common::{DataFusionError, ScalarValue};
use tidemill::datafusion::logical_expr::{Accumulator, ColumnarValue, Volatility, create_udaf, create_udf};
use tidemill::prelude::*;

/// The longest text of a group. State is what `state` gives: it is kept, merged and written to the checkpoint.
#[derive(Debug, Default)]
struct Longest(Option<String>);

impl Accumulator for Longest {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        for text in values[0].as_string_view().iter().flatten() {
            if self.0.as_ref().is_none_or(|longest| text.len() > longest.len()) {
                self.0 = Some(text.to_owned());
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        self.evaluate().map(|value| vec![value])
    }

    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        Ok(ScalarValue::Utf8View(self.0.clone()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.as_ref().map_or(0, String::capacity)
    }
}

/// A session with the function `shout`, the aggregate `longest` and the table `countries`.
pub fn session() -> Result<Session> {
    let session = Session::new();
    let context = session.context();
    let shout = |args: &[ColumnarValue]| {
        let texts = ColumnarValue::values_to_arrays(args)?;
        let loud = texts[0].as_string_view().iter().map(|t| t.map(|t| t.to_uppercase() + "!"));
        Ok(ColumnarValue::Array(Arc::new(loud.collect::<StringViewArray>())))
    };
    let text = DataType::Utf8View;
    context.register_udf(create_udf("shout", vec![text.clone()], text.clone(), Volatility::Immutable, Arc::new(shout)));
    context.register_udaf(create_udaf(
        "longest",
        vec![text.clone()],
        Arc::new(text.clone()),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::<Longest>::default())),
        Arc::new(vec![text]),
    ));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let names: ArrayRef = Arc::new(StringViewArray::from(vec!["Norway", "Chile"]));
    context.register_batch("countries", RecordBatch::try_from_iter([("id", ids), ("country", names)])?)?;
    Ok(session)
}

/// Names of people by the id of their country, in two batches; the longest of each country.
pub async fn run() -> Result<Vec<RecordBatch>> {
    let session = session()?;
    let schema =
        Schema::new(vec![Field::new("country", DataType::Int64, true), Field::new("name", DataType::Utf8View, true)]);
    let people = MemoryStream::new(Arc::new(schema));
    session.register_stream("people", Arc::new(people.clone()))?;
    let found = session.sql(
        "CREATE FLOW found USING memory OUTPUT MODE COMPLETE AS
         SELECT c.country, shout(longest(p.name)) AS longest
         FROM STREAM people p JOIN countries c ON p.country = c.id GROUP BY c.country ORDER BY c.country",
    );
    found.await?;
    let query = session.streams().get_by_name("found").ok_or_else(|| Error::internal("the flow did not start"))?;
    for (countries, names) in [(vec![1, 2], vec!["Liv", "Valentina"]), (vec![1, 1], vec!["Ingeborg", "Tor"])] {
        let countries: ArrayRef = Arc::new(Int64Array::from(countries));
        let names: ArrayRef = Arc::new(StringViewArray::from(names));
        people.add_data(RecordBatch::try_from_iter_with_nullable([
            ("country", countries, true),
            ("name", names, true),
        ])?)?;
        query.process_all_available().await?;
    }
    query.stop().await?;
    Ok(session.context().table("found").await?.collect().await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("{}", tidemill::arrow::util::pretty::pretty_format_batches(&run().await?)?);
    Ok(())
}
