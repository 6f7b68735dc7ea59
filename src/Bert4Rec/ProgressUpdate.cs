namespace Bert4Rec;

/// <summary>How far a long operation is. Reported often; whoever shows it decides how often to draw.</summary>
/// <param name="Activity">"reading ml-100k.inter", "epoch 3".</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all, or 0 where that is not known.</param>
/// <param name="Unit">"tokens", "rows", "bytes", "users".</param>
/// <param name="Detail">What else is worth a look meanwhile ("80,000 rows"), or null.</param>
public readonly record struct ProgressUpdate(string Activity, long Done, long Total, string Unit, string? Detail = null);
