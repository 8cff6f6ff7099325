from srnn.starts.iso import *
