from srnn.starts.likelihood import *
