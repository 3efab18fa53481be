"""Folding: sky components through the instrument response into columns (numerics under the response)."""
