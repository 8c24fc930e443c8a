//! Arrays of FLOAT as vectors: `vector_inner_product` and its kin.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, Types, function, list_of};
use super::wrong_type;
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("vector_inner_product", 2..=2, two_vectors, |call| pairs(call, |a, b| Some(dot(a, b)))),
        function("vector_cosine_similarity", 2..=2, two_vectors, |call| pairs(call, cosine)),
        function("vector_l2_distance", 2..=2, two_vectors, |call| {
            pairs(call, |a, b| {
                let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
                Some(a.iter().zip(b).map(square).fold(0.0, |sum, x| sum + x).sqrt())
            })
        }),
        function("vector_norm", 1..=2, |types| vector_and_degree(types).map(|()| DataType::Float32), norms),
        function(
            "vector_normalize",
            1..=2,
            |types| vector_and_degree(types).map(|()| list_of(DataType::Float32)),
            normalized,
        ),
    ]
}

fn is_vector(t: &DataType) -> bool {
    matches!(t, DataType::List(field) if field.data_type() == &DataType::Float32)
}

fn two_vectors(types: &Types) -> Result<DataType> {
    match types.all().iter().find(|t| !is_vector(t)) {
        Some(other) => Err(wrong_type("vector", "ARRAY<FLOAT>", other)),
        None => Ok(DataType::Float32),
    }
}

fn vector_and_degree(types: &Types) -> Result<()> {
    if !is_vector(types.get(0)) {
        return Err(wrong_type("vector_norm", "ARRAY<FLOAT>", types.get(0)));
    }
    if types.len() > 1 && types.get(1) != &DataType::Float32 {
        return Err(wrong_type("vector_norm", "a FLOAT as degree", types.get(1)));
    }
    Ok(())
}

/// The elements of a vector; none if it or one of them is NULL.
fn vector(list: &ListArray, row: usize) -> Option<Float32Array> {
    let values = (!list.is_null(row)).then(|| list.value(row))?;
    let values = values.as_primitive::<Float32Type>();
    (values.null_count() == 0).then(|| values.clone())
}

/// The error of vectors that have not the same length.
pub fn mismatch(a: usize, b: usize) -> Error {
    Error::execution("VECTOR_DIMENSION_MISMATCH", format!("a vector has {a} elements where another has {b}"))
        .with_help("vectors that are computed with each other are of one length: look at cardinality(v)")
}

fn pairs(call: &Call, f: impl Fn(&[f32], &[f32]) -> Option<f64>) -> Result<ArrayRef> {
    let (a, b) = (call.array(0)?, call.array(1)?);
    let (a, b) = (a.as_list::<i32>(), b.as_list::<i32>());
    let mut out = Float32Builder::with_capacity(a.len());
    for row in 0..a.len() {
        if !a.is_null(row) && !b.is_null(row) && a.value_length(row) != b.value_length(row) {
            return Err(mismatch(a.value_length(row) as usize, b.value_length(row) as usize));
        }
        let value = vector(a, row).zip(vector(b, row)).and_then(|(a, b)| f(a.values(), b.values()));
        out.append_option(value.map(|v| v as f32));
    }
    Ok(Arc::new(out.finish()))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + f64::from(*x) * f64::from(*y))
}

/// None where a vector has no direction.
fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    (lengths != 0.0).then(|| dot(a, b) / lengths)
}

/// A norm of degree 1, 2 or infinity.
fn norm(v: &[f32], degree: f32) -> Result<f64> {
    let sizes = v.iter().map(|x| f64::from(x.abs()));
    Ok(match degree {
        1.0 => sizes.fold(0.0, |sum, x| sum + x),
        2.0 => dot(v, v).sqrt(),
        f32::INFINITY => sizes.fold(0.0, f64::max),
        other => {
            return Err(Error::execution("INVALID_VECTOR_NORM_DEGREE", format!("there is no norm of degree {other}"))
                .with_help("write 1.0F, 2.0F or float('inf')"));
        }
    })
}

/// Calls `f` with each vector and its norm.
fn each(call: &Call, mut f: impl FnMut(Option<(&[f32], f64)>)) -> Result<()> {
    let list = call.array(0)?;
    let list = list.as_list::<i32>();
    let degrees = if call.len() > 1 { Some(call.array(1)?) } else { None };
    for row in 0..list.len() {
        let degree = match &degrees {
            None => Some(2.0),
            Some(degrees) if degrees.is_null(row) => None,
            Some(degrees) => Some(degrees.as_primitive::<Float32Type>().value(row)),
        };
        match degree.zip(vector(list, row)) {
            Some((degree, v)) => f(Some((v.values(), norm(v.values(), degree)?))),
            None => f(None),
        }
    }
    Ok(())
}

fn norms(call: &Call) -> Result<ArrayRef> {
    let mut out = Float32Builder::new();
    each(call, |v| out.append_option(v.map(|(_, norm)| norm as f32)))?;
    Ok(Arc::new(out.finish()))
}

/// NULL for a vector without a direction.
fn normalized(call: &Call) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(Float32Builder::new()).with_field(Field::new_list_field(DataType::Float32, true));
    each(call, |v| match v {
        Some((v, norm)) if norm != 0.0 || v.is_empty() => {
            v.iter().for_each(|x| out.values().append_value((f64::from(*x) / norm) as f32));
            out.append(true);
        }
        _ => out.append(false),
    })?;
    Ok(Arc::new(out.finish()))
}
