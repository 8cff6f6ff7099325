from srnn.starts.convexity import *
