"""How a number arises: stored cells, grids, intervals, tables, costs."""
