"""Usage, prices, statements, and exports of usage; the data itself is stored in `stores`."""
