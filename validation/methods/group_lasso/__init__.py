"""Nonconvex sparse group lasso (Bui, Park, Zhang, Qi and Xin 2021): groups and single weights driven to zero."""
