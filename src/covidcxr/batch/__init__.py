"""Scoring of millions of images: plan them as shards, score each shard into one Parquet file, sum up."""
