"""What users get wrong: each line marked so must be reported by every type checker."""

import numpy as np

import fastreg
from fastreg import nn, schedule
from fastreg.sklearn import MLPClassifier, MLPRegressor
from fastreg.train import Trainer

W = np.ones((2, 2))

fastreg.AdamW(1e-3, weight_deacy=0.01)  # wrong
fastreg.Adam("fast")  # wrong
fastreg.SGD(0.1, l1_mode="proximal")  # wrong
fastreg.SGD(0.1, compat="jax")  # wrong
fastreg.SGD().lr = "fast"  # wrong
fastreg.SGD().update({"W": W})  # wrong
fastreg.BatchNorm()  # wrong
fastreg.BatchNorm(2).forward([1.0, 2.0])  # wrong
fastreg.Dropout(0.5, seed=0)  # wrong
fastreg.Dropout("half")  # wrong
fastreg.l1_gradient("W")  # wrong
fastreg.matmul(W)  # wrong
fastreg.matmul(W, W, W)  # wrong
fastreg.ElasticNet(l1=0.1)  # wrong
schedule.cosine(1e-3)  # wrong
schedule.cosine(1e-3, total=0.5)  # wrong
schedule.cosine(1e-3, 10, total=10)  # wrong
schedule.cosine(1e-3, total="fit").bind(epochs=3)  # wrong
schedule.step(0.1, 0.5, 10, 3)  # wrong
fastreg.EarlyStopping(patience="ten")  # wrong
fastreg.diagnose([1.0])  # wrong
nn.Dense(4)  # wrong
nn.mlp([4, 2], activation=nn.ReLU)  # wrong
Trainer(nn.mlp([4, 2]), "hinge", fastreg.SGD())  # wrong
fastreg.set_num_threads("all")  # wrong
MLPClassifier(droput=0.1)  # wrong
MLPClassifier((8,), "relu", "adam")  # wrong
MLPRegressor(max_iter="many")  # wrong
